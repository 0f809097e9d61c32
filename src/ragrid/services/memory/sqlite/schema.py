"""The tables, as the list of steps that led to them; `PRAGMA user_version` counts how many a file has behind it."""

#: "RGMS": the file is a memory store of ours (`PRAGMA application_id`).
APPLICATION_ID = 0x52474D53

_FIRST = """
-- Counters that one batch of changes moves at most once: `seq` (last used) and `rows` (live memories).
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO counter VALUES ('seq', 0), ('rows', 0);

CREATE TABLE namespace (
  id         INTEGER PRIMARY KEY,
  tenant     TEXT NOT NULL,
  name       TEXT NOT NULL,
  created_us INTEGER NOT NULL,
  settings   BLOB,
  UNIQUE (tenant, name)
) STRICT;

-- The current version of each id; a deleted one stays as a tombstone, so that versions never start again.
CREATE TABLE memory (
  position   INTEGER PRIMARY KEY,  -- the seq at which it was made: the order of lists
  namespace  INTEGER NOT NULL REFERENCES namespace (id),
  id         TEXT NOT NULL,
  version    INTEGER NOT NULL,
  seq        INTEGER NOT NULL,
  type       TEXT,
  user_id    TEXT,
  agent_id   TEXT,
  session_id TEXT,
  created_us INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  expires_us INTEGER,
  is_deleted INTEGER NOT NULL,
  doc        BLOB NOT NULL         -- last: rows are filtered without reading it
) STRICT;
CREATE UNIQUE INDEX memory_key ON memory (namespace, id);
CREATE INDEX memory_live ON memory (namespace) WHERE is_deleted = 0;
CREATE INDEX memory_user ON memory (namespace, user_id) WHERE is_deleted = 0 AND user_id IS NOT NULL;
CREATE INDEX memory_agent ON memory (namespace, agent_id) WHERE is_deleted = 0 AND agent_id IS NOT NULL;
CREATE INDEX memory_session ON memory (namespace, session_id) WHERE is_deleted = 0 AND session_id IS NOT NULL;
CREATE INDEX memory_expiry ON memory (expires_us) WHERE expires_us IS NOT NULL;

CREATE TABLE memory_tag (
  namespace INTEGER NOT NULL,
  tag       TEXT NOT NULL,
  position  INTEGER NOT NULL,
  PRIMARY KEY (namespace, tag, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX memory_tag_position ON memory_tag (position);

-- Every version that ever was; `doc` is NULL for ends, and erased when the memory expires.
CREATE TABLE memory_event (
  seq       INTEGER PRIMARY KEY,
  namespace INTEGER NOT NULL,
  id        TEXT NOT NULL,
  version   INTEGER NOT NULL,
  op        TEXT NOT NULL,
  actor     TEXT NOT NULL,
  at_us     INTEGER NOT NULL,
  doc       BLOB
) STRICT;
CREATE INDEX memory_event_key ON memory_event (namespace, id);

-- `scope` holds one word for the namespace, so that a search only ever walks through its own.
CREATE VIRTUAL TABLE memory_fts USING fts5 (
  scope, content, tags, data,
  content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2'
);

CREATE TABLE idempotency (
  tenant      TEXT NOT NULL,
  subject     TEXT NOT NULL,
  key         TEXT NOT NULL,
  fingerprint BLOB NOT NULL,
  seq         INTEGER NOT NULL,
  expires_us  INTEGER NOT NULL,
  PRIMARY KEY (tenant, subject, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_expiry ON idempotency (expires_us);
"""

_SESSIONS_FEED_JOBS = """
-- A session that was deleted stays as its counters, so that no index and no version is ever given twice.
CREATE TABLE session (
  number           INTEGER PRIMARY KEY,
  namespace        INTEGER NOT NULL REFERENCES namespace (id),
  id               TEXT NOT NULL,
  is_live          INTEGER NOT NULL,
  last_index       INTEGER NOT NULL,
  state_version    INTEGER NOT NULL,
  state_ttl_s      INTEGER,
  state_expires_us INTEGER,
  state_updated_us INTEGER NOT NULL,
  state_updated_by TEXT NOT NULL,
  state            BLOB,
  UNIQUE (namespace, id)
) STRICT;
CREATE INDEX session_state_expiry ON session (state_expires_us) WHERE state_expires_us IS NOT NULL;

CREATE TABLE session_message (
  namespace  INTEGER NOT NULL,
  session    INTEGER NOT NULL REFERENCES session (number),
  position   INTEGER NOT NULL,  -- its index in the session
  expires_us INTEGER,
  doc        BLOB NOT NULL,
  PRIMARY KEY (session, position)
) STRICT;
CREATE INDEX session_message_expiry ON session_message (expires_us) WHERE expires_us IS NOT NULL;

CREATE TABLE session_append (
  tenant      TEXT NOT NULL,
  subject     TEXT NOT NULL,
  key         TEXT NOT NULL,
  fingerprint BLOB NOT NULL,
  namespace   INTEGER NOT NULL,
  session     INTEGER NOT NULL,
  first_index INTEGER NOT NULL,
  last_index  INTEGER NOT NULL,
  expires_us  INTEGER NOT NULL,
  PRIMARY KEY (tenant, subject, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX session_append_expiry ON session_append (expires_us);

-- The order of the change feed and of exports: the rowid, which is the seq, is the last column of every index.
CREATE INDEX memory_event_order ON memory_event (namespace);

CREATE TABLE job (
  id         TEXT PRIMARY KEY,
  tenant     TEXT NOT NULL,
  is_ended   INTEGER NOT NULL,
  updated_us INTEGER NOT NULL,
  doc        BLOB NOT NULL
) STRICT;
CREATE INDEX job_tenant ON job (tenant);
CREATE INDEX job_open ON job (id) WHERE is_ended = 0;
"""

_NAMESPACES_AND_TWINS = """
ALTER TABLE namespace ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE namespace ADD COLUMN updated_us INTEGER;
ALTER TABLE namespace ADD COLUMN updated_by TEXT;
ALTER TABLE namespace ADD COLUMN rows INTEGER NOT NULL DEFAULT 0;       -- live memories
ALTER TABLE namespace ADD COLUMN size_bytes INTEGER NOT NULL DEFAULT 0; -- of their documents
ALTER TABLE namespace ADD COLUMN is_gone INTEGER NOT NULL DEFAULT 0;    -- deleted: what is in it is being erased
CREATE INDEX namespace_gone ON namespace (id) WHERE is_gone = 1;
UPDATE namespace SET
  rows = (SELECT count(*) FROM memory AS m WHERE m.namespace = namespace.id AND m.is_deleted = 0),
  size_bytes = (
    SELECT coalesce(sum(length(m.doc)), 0) FROM memory AS m WHERE m.namespace = namespace.id AND m.is_deleted = 0
  );

-- Made anew, so that the document stays the last column.
CREATE TABLE memory_new (
  position      INTEGER PRIMARY KEY,  -- the seq at which it was made: the order of lists
  namespace     INTEGER NOT NULL REFERENCES namespace (id),
  id            TEXT NOT NULL,
  version       INTEGER NOT NULL,
  seq           INTEGER NOT NULL,
  type          TEXT,
  user_id       TEXT,
  agent_id      TEXT,
  session_id    TEXT,
  created_us    INTEGER NOT NULL,
  created_by    TEXT NOT NULL,
  expires_us    INTEGER,
  is_deleted    INTEGER NOT NULL,
  is_erased     INTEGER NOT NULL,  -- nothing is left of it in memory_event either
  superseded_by TEXT,
  fingerprint   BLOB,              -- what memories that say the same share
  doc           BLOB NOT NULL      -- last: rows are filtered without reading it
) STRICT;
INSERT INTO memory_new
SELECT m.position, m.namespace, m.id, m.version, m.seq, m.type, m.user_id, m.agent_id, m.session_id, m.created_us,
  m.created_by, m.expires_us, m.is_deleted, m.is_deleted = 1 AND e.op = 'expire', NULL,
  CASE m.is_deleted WHEN 0 THEN fingerprint_of_document(m.doc) END, m.doc
FROM memory AS m JOIN memory_event AS e ON e.seq = m.seq;
DROP TABLE memory;
ALTER TABLE memory_new RENAME TO memory;
CREATE UNIQUE INDEX memory_key ON memory (namespace, id);
CREATE INDEX memory_live ON memory (namespace) WHERE is_deleted = 0;
CREATE INDEX memory_user ON memory (namespace, user_id) WHERE is_deleted = 0 AND user_id IS NOT NULL;
CREATE INDEX memory_agent ON memory (namespace, agent_id) WHERE is_deleted = 0 AND agent_id IS NOT NULL;
CREATE INDEX memory_session ON memory (namespace, session_id) WHERE is_deleted = 0 AND session_id IS NOT NULL;
CREATE INDEX memory_expiry ON memory (expires_us) WHERE expires_us IS NOT NULL;
CREATE INDEX memory_twin ON memory (namespace, fingerprint) WHERE is_deleted = 0;

ALTER TABLE idempotency ADD COLUMN is_new INTEGER NOT NULL DEFAULT 1;
"""

_EMBEDDINGS = """
-- `state`: see ModelState in embedding/models.py.
CREATE TABLE embedding_model (
  number    INTEGER PRIMARY KEY,
  name      TEXT NOT NULL UNIQUE,
  dimension INTEGER,
  state     TEXT NOT NULL
) STRICT;

-- `stamp` is given once and in order of arrival: what a cache has not seen yet is what has a higher one.
CREATE TABLE memory_vector (
  stamp     INTEGER PRIMARY KEY AUTOINCREMENT,
  model     INTEGER NOT NULL REFERENCES embedding_model (number),
  namespace INTEGER NOT NULL,
  position  INTEGER NOT NULL,
  digest    BLOB NOT NULL,         -- of the text that it stands for
  vector    BLOB NOT NULL          -- half precision, little endian
) STRICT;
CREATE UNIQUE INDEX memory_vector_position ON memory_vector (position, model);
CREATE INDEX memory_vector_arrival ON memory_vector (model, namespace);

-- Texts that wait for a vector, written with the change that made them.
CREATE TABLE embedding_outbox (
  position    INTEGER NOT NULL,
  model       INTEGER NOT NULL,
  namespace   INTEGER NOT NULL,
  digest      BLOB NOT NULL,       -- empty: whatever the text is now
  since_us    INTEGER NOT NULL,
  next_us     INTEGER NOT NULL,
  attempts    INTEGER NOT NULL,
  is_given_up INTEGER NOT NULL,
  reason      TEXT,
  PRIMARY KEY (position, model)
) STRICT, WITHOUT ROWID;
CREATE INDEX embedding_outbox_due ON embedding_outbox (model, is_given_up, since_us);
"""

_ONE_COPY_AND_TWIN_WORDS = """
-- The contents of a current version stand in `memory` alone; the next version moves them here (writing/versions.py).
CREATE VIEW memory_version AS
SELECT e.seq, e.namespace, e.id, e.version, e.op, e.actor, e.at_us, coalesce(e.doc, (
  SELECT nullif(m.doc, x'') FROM memory AS m WHERE m.namespace = e.namespace AND m.id = e.id AND m.seq = e.seq
)) AS doc
FROM memory_event AS e;

-- What memories share that say the same is a word of the full-text index: a B-tree over digests, which come in no
-- order, wrote a page of 4 KiB for each memory, a third of all that was written.
DROP INDEX memory_twin;
INSERT INTO memory_fts (memory_fts) VALUES ('delete-all');
INSERT INTO memory_fts (rowid, scope, content, tags, data)
SELECT position, scope_words(namespace, fingerprint),
  searchable_of_document(doc, 0), searchable_of_document(doc, 1), searchable_of_document(doc, 2)
FROM memory WHERE is_deleted = 0;
ALTER TABLE memory DROP COLUMN fingerprint;
"""

_BROUGHT_BY_NAMESPACE = """
-- Callers of each namespace bring vectors of a model of its own: the first one names it.
ALTER TABLE namespace ADD COLUMN brought_model TEXT;
ALTER TABLE namespace ADD COLUMN brought_dimension INTEGER;

-- Brought vectors of one dimension, whose ever they are, stand under the number -dimension (embedding/sources.py).
-- Before, the first of all callers named one model for everybody, in the state `given`.
INSERT INTO embedding_model (number, name, dimension, state)
SELECT -dimension, 'brought by callers, ' || dimension, dimension, 'brought' FROM embedding_model
WHERE state = 'given' AND dimension IS NOT NULL;
UPDATE namespace SET (brought_model, brought_dimension) = (
  SELECT m.name, m.dimension FROM embedding_model AS m WHERE m.state = 'given'
) WHERE is_gone = 0 AND EXISTS (
  SELECT 1 FROM embedding_model AS m CROSS JOIN memory_vector AS v ON v.model = m.number AND v.namespace = namespace.id
  WHERE m.state = 'given'
);
UPDATE memory_vector SET model = (SELECT -m.dimension FROM embedding_model AS m WHERE m.state = 'given')
WHERE model IN (SELECT m.number FROM embedding_model AS m WHERE m.state = 'given');
DELETE FROM embedding_model WHERE state = 'given';
"""

#: Each is run once, in order, in one transaction of its own together with the new user_version. Never edit one that
#: was released: add another.
MIGRATIONS: tuple[str, ...] = (
    _FIRST,
    _SESSIONS_FEED_JOBS,
    _NAMESPACES_AND_TWINS,
    _EMBEDDINGS,
    _ONE_COPY_AND_TWIN_WORDS,
    _BROUGHT_BY_NAMESPACE,
)
