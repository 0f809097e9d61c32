"""The tables, as the list of steps that led to them; `migration` has one row for each that a database has behind it.

What decides the shape:

- **Each tenant has one row of counters, and who writes locks it first.** `seq` then grows in the order of commits and
  without gaps: who reads up to a `seq` never finds an earlier one later, as would happen with a sequence of the
  server's. Tenants do not wait for one another, and see nothing of each other's numbers.
- **Row-level security** holds for everything that shows contents, also for the owner of the tables: a statement that
  forgets its tenant finds nothing. `tenant` has counters alone, and is how the sweep finds whom it has to visit.
- **The word index stands apart**, without that policy, because the policy would keep the server from using any index
  over words. Its words are digests that hold tenant and namespace, so each namespace has an index of its own within
  it, and it shows nobody a word.
- Text that callers choose is `bytea`: it may hold NUL, which `text` cannot, and it is compared byte by byte.
"""

from collections.abc import Sequence

SCHEMA = "ragrid_memory"

#: Whoever migrates holds this advisory lock until its transaction ends: "RGMS".
MIGRATION_LOCK = 0x52474D53

#: The tables that hold contents; each is fenced by row-level security.
FENCED = (
    *("namespace", "memory", "memory_event", "idempotency"),
    *("session", "session_message", "session_append", "job", "memory_vector"),
)

_FIRST = """
CREATE TABLE tenant (
  tenant         text COLLATE "C" PRIMARY KEY,
  number         bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  seq            bigint NOT NULL DEFAULT 0,  -- last used, and of vectors
  last_stamp     bigint NOT NULL DEFAULT 0,
  rows           bigint NOT NULL DEFAULT 0,  -- live memories
  -- None of the tenant's memories (messages, states) expires before; NULL: nothing ever does.
  next_expiry_us         bigint,
  next_session_expiry_us bigint,
  next_job_us            bigint  -- none of the tenant's jobs has to be looked after before
) WITH (fillfactor = 50);
CREATE INDEX tenant_expiry ON tenant (next_expiry_us) WHERE next_expiry_us IS NOT NULL;
CREATE INDEX tenant_session_expiry ON tenant (next_session_expiry_us) WHERE next_session_expiry_us IS NOT NULL;
CREATE INDEX tenant_job ON tenant (next_job_us) WHERE next_job_us IS NOT NULL;

CREATE TABLE namespace (
  tenant     text COLLATE "C" NOT NULL,
  name       text COLLATE "C" NOT NULL,
  created_us bigint NOT NULL,
  rows       bigint NOT NULL DEFAULT 0,  -- live memories, the bytes of their documents, and their words
  size_bytes bigint NOT NULL DEFAULT 0,
  words      bigint NOT NULL DEFAULT 0,
  number     bigint GENERATED ALWAYS AS IDENTITY UNIQUE,  -- the order of lists
  version    bigint NOT NULL DEFAULT 1,
  settings   bytea,
  updated_us bigint,
  updated_by text COLLATE "C",
  PRIMARY KEY (tenant, name)
) WITH (fillfactor = 50);

-- The current version of each id; a deleted one stays as a tombstone, so that versions never start again.
CREATE TABLE memory (
  tenant     text COLLATE "C" NOT NULL,
  namespace  text COLLATE "C" NOT NULL,
  id         text COLLATE "C" NOT NULL,
  position   bigint NOT NULL,  -- the seq at which it was made: the order of lists
  version    bigint NOT NULL,
  seq        bigint NOT NULL,
  is_deleted boolean NOT NULL,
  is_erased  boolean NOT NULL,
  type       text COLLATE "C",
  user_id    bytea,
  agent_id   bytea,
  session_id bytea,
  words      integer NOT NULL,
  created_us bigint NOT NULL,
  created_by text COLLATE "C" NOT NULL,
  expires_us bigint,
  superseded_by text COLLATE "C",
  fingerprint   bytea,  -- of the contents: memories that have the same are twins
  doc        bytea NOT NULL,
  plain      jsonb,  -- the document without NUL, which `jsonb` cannot hold; NULL where it has none
  PRIMARY KEY (tenant, namespace, id)
);
CREATE UNIQUE INDEX memory_position ON memory (tenant, position);
CREATE INDEX memory_live ON memory (tenant, namespace, position) WHERE NOT is_deleted;
CREATE INDEX memory_user ON memory (tenant, namespace, user_id, position)
  WHERE NOT is_deleted AND user_id IS NOT NULL;
CREATE INDEX memory_agent ON memory (tenant, namespace, agent_id, position)
  WHERE NOT is_deleted AND agent_id IS NOT NULL;
CREATE INDEX memory_session ON memory (tenant, namespace, session_id, position)
  WHERE NOT is_deleted AND session_id IS NOT NULL;
CREATE INDEX memory_expiry ON memory (tenant, expires_us) WHERE expires_us IS NOT NULL;
CREATE INDEX memory_twin ON memory (tenant, namespace, fingerprint) WHERE fingerprint IS NOT NULL;

CREATE TABLE memory_words (
  tenant   text COLLATE "C" NOT NULL,
  position bigint NOT NULL,
  words    tsvector NOT NULL,  -- digests of the memory's words and tags
  PRIMARY KEY (tenant, position)
);
-- What waits to be sorted into the index is read by every search: little of it.
CREATE INDEX memory_words_index ON memory_words USING gin (words) WITH (gin_pending_list_limit = 512);

-- Every version that ever was; `doc` is NULL for ends, and erased when the memory expires.
CREATE TABLE memory_event (
  tenant    text COLLATE "C" NOT NULL,
  seq       bigint NOT NULL,
  namespace text COLLATE "C" NOT NULL,
  id        text COLLATE "C" NOT NULL,
  version   bigint NOT NULL,
  op        text COLLATE "C" NOT NULL,
  actor     text COLLATE "C" NOT NULL,
  at_us     bigint NOT NULL,
  doc       bytea,
  PRIMARY KEY (tenant, seq)
);
CREATE INDEX memory_event_key ON memory_event (tenant, namespace, id, seq);
CREATE INDEX memory_event_order ON memory_event (tenant, namespace, seq);

CREATE TABLE idempotency (
  tenant      text COLLATE "C" NOT NULL,
  subject     text COLLATE "C" NOT NULL,
  key         text COLLATE "C" NOT NULL,
  fingerprint bytea NOT NULL,
  seq         bigint NOT NULL,
  expires_us  bigint NOT NULL,
  is_new      boolean NOT NULL,
  PRIMARY KEY (tenant, subject, key)
);
CREATE INDEX idempotency_expiry ON idempotency (tenant, expires_us);
"""

_EMBEDDINGS = """
-- `state`: see ModelState in embedding/models.py. `dropped_to`: tenants below have no vectors of a dropped model left.
CREATE TABLE embedding_model (
  number     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name       text COLLATE "C" NOT NULL UNIQUE,
  dimension  integer,
  state      text COLLATE "C" NOT NULL,
  dropped_to bigint NOT NULL DEFAULT 0
);

CREATE TABLE memory_vector (
  tenant    text COLLATE "C" NOT NULL,
  position  bigint NOT NULL,
  model     integer NOT NULL,
  namespace text COLLATE "C" NOT NULL,
  digest    bytea NOT NULL,   -- of the text that it stands for
  stamp     bigint NOT NULL,  -- grows in the order of commits within a tenant
  vector    bytea NOT NULL,   -- half precision, little endian
  PRIMARY KEY (tenant, position, model)
);
CREATE INDEX memory_vector_arrival ON memory_vector (tenant, namespace, model, stamp);

-- Texts that wait for a vector, written with the change that made them.
CREATE TABLE embedding_outbox (
  number      bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  tenant      text COLLATE "C" NOT NULL,
  position    bigint NOT NULL,
  model       integer NOT NULL,
  namespace   text COLLATE "C" NOT NULL,
  digest      bytea NOT NULL,  -- empty: whatever the text is now
  since_us    bigint NOT NULL,
  next_us     bigint NOT NULL,
  attempts    integer NOT NULL DEFAULT 0,
  is_given_up boolean NOT NULL DEFAULT false,
  reason      text,
  PRIMARY KEY (tenant, position, model)
);
CREATE INDEX embedding_outbox_due ON embedding_outbox (model, is_given_up, since_us);
"""

_SESSIONS_JOBS = """
-- A session that was deleted stays as its counters, so that no index and no version is ever given twice.
CREATE TABLE session (
  tenant           text COLLATE "C" NOT NULL,
  namespace        text COLLATE "C" NOT NULL,
  id               text COLLATE "C" NOT NULL,
  is_live          boolean NOT NULL,
  last_index       bigint NOT NULL,
  state_version    bigint NOT NULL,
  state_ttl_s      bigint,
  state_expires_us bigint,
  state_updated_us bigint NOT NULL,
  state_updated_by text COLLATE "C" NOT NULL,
  state            bytea,
  PRIMARY KEY (tenant, namespace, id)
);
CREATE INDEX session_state_expiry ON session (tenant, state_expires_us) WHERE state_expires_us IS NOT NULL;

CREATE TABLE session_message (
  tenant     text COLLATE "C" NOT NULL,
  namespace  text COLLATE "C" NOT NULL,
  session    text COLLATE "C" NOT NULL,
  position   bigint NOT NULL,  -- its index in the session
  expires_us bigint,
  doc        bytea NOT NULL,
  PRIMARY KEY (tenant, namespace, session, position)
);
CREATE INDEX session_message_expiry ON session_message (tenant, expires_us) WHERE expires_us IS NOT NULL;

CREATE TABLE session_append (
  tenant      text COLLATE "C" NOT NULL,
  subject     text COLLATE "C" NOT NULL,
  key         text COLLATE "C" NOT NULL,
  fingerprint bytea NOT NULL,
  namespace   text COLLATE "C" NOT NULL,
  session     text COLLATE "C" NOT NULL,
  first_index bigint NOT NULL,
  last_index  bigint NOT NULL,
  expires_us  bigint NOT NULL,
  PRIMARY KEY (tenant, subject, key)
);
CREATE INDEX session_append_expiry ON session_append (tenant, expires_us);

CREATE TABLE job (
  tenant     text COLLATE "C" NOT NULL,
  id         text COLLATE "C" NOT NULL,
  is_ended   boolean NOT NULL,
  updated_us bigint NOT NULL,
  doc        bytea NOT NULL,
  PRIMARY KEY (tenant, id)
);
"""


def fence(*tables: str) -> str:
    """Return the statements that show each row of `tables` to its tenant alone, also to the tables' owner."""
    return "".join(
        f"""
        ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
        CREATE POLICY fence ON {table} USING (tenant = current_setting('ragrid.tenant', true));
        """
        for table in tables
    )


def unfenced(tables: Sequence[str], statements: str) -> str:
    """Return `statements` as the owner of `tables` runs them over all tenants at once."""
    opened = "".join(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY;\n" for table in tables)
    return opened + statements + "".join(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY;\n" for table in tables)


_BROUGHT_BY_NAMESPACE = """
-- Callers of each namespace bring vectors of a model of its own: the first one names it.
ALTER TABLE namespace ADD COLUMN brought_model bytea, ADD COLUMN brought_dimension integer;

-- Brought vectors of one dimension, whose ever they are, stand under the number -dimension (embedding/sources.py).
-- Before, the first of all callers named one model for everybody, in the state `given`.
UPDATE namespace AS n SET brought_model = convert_to(m.name, 'UTF8'), brought_dimension = m.dimension
FROM embedding_model AS m WHERE m.state = 'given' AND EXISTS (
  SELECT FROM memory_vector AS v WHERE v.tenant = n.tenant AND v.namespace = n.name AND v.model = m.number
);
UPDATE memory_vector AS v SET model = -m.dimension FROM embedding_model AS m
WHERE m.state = 'given' AND v.model = m.number;
DELETE FROM embedding_model WHERE state = 'given';
"""

#: Each is run once, in order, all that are missing in one transaction. Never edit one that was released: add another.
MIGRATIONS: tuple[str, ...] = (
    _FIRST + _EMBEDDINGS + _SESSIONS_JOBS + fence(*FENCED),
    unfenced(("namespace", "memory_vector"), _BROUGHT_BY_NAMESPACE),
)
