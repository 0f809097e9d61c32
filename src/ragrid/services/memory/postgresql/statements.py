"""The statements that a writing transaction is made of. Each names the tenant, and the server checks it once more.

Where rows are looked up for a list of keys, each key has a lookup of its own (`LATERAL … LIMIT 1`): the server cannot
turn it round and walk through all rows of the tenant, which it prefers while it has not counted a table yet.
"""

from ragrid.services.memory.postgresql.rooms import ROOM_COLUMNS

#: Take the tenant's lock: who holds it is the only one that writes for this tenant, in this or any other process.
LOCK = """
SELECT seq, pg_current_xact_id()::text, set_config('ragrid.tenant', tenant, true)
FROM tenant WHERE tenant = $1 FOR UPDATE
"""
FIRST = "INSERT INTO tenant (tenant) VALUES ($1) ON CONFLICT DO NOTHING"

STORED_COLUMNS = """
m.namespace, m.id, m.words, m.fingerprint, m.position, m.version, m.doc, m.created_us, m.created_by, m.expires_us,
m.is_deleted, m.is_erased, m.superseded_by
"""

CURRENT = f"""
SELECT {STORED_COLUMNS}
FROM unnest($2::text[], $3::text[]) AS k (namespace, id) CROSS JOIN LATERAL (
  SELECT * FROM memory AS one WHERE one.tenant = $1 AND one.namespace = k.namespace AND one.id = k.id LIMIT 1
) AS m
"""  # noqa: S608 - our own words

DOCUMENTS = """
SELECT e.namespace, e.id, e.version, e.doc
FROM unnest($2::text[], $3::text[], $4::bigint[]) AS k (namespace, id, version) CROSS JOIN LATERAL (
  SELECT * FROM memory_event AS one
  WHERE one.tenant = $1 AND one.namespace = k.namespace AND one.id = k.id AND one.version = k.version LIMIT 1
) AS e
"""

#: The newest with a fingerprint. Who keeps more than these among twins that have expired finds one of them less.
TWINS = f"""
SELECT {STORED_COLUMNS}
FROM unnest($2::text[], $3::bytea[]) AS k (namespace, fingerprint) CROSS JOIN LATERAL (
  SELECT * FROM memory AS one
  WHERE one.tenant = $1 AND one.namespace = k.namespace AND one.fingerprint = k.fingerprint
    AND NOT one.is_deleted AND one.superseded_by IS NULL
  ORDER BY one.position DESC LIMIT 64
) AS m
"""  # noqa: S608 - our own words

ROOMS = f"SELECT name, {ROOM_COLUMNS} FROM namespace WHERE tenant = $1 AND name = ANY ($2::text[])"  # noqa: S608 - our own words

#: What idempotency keys led to, with the current state of the memories that they made.
REQUESTS = f"""
SELECT i.subject, i.key, i.fingerprint AS request_fingerprint, i.seq AS request_seq, i.is_new,
  i.expires_us AS request_expires_us, e.version AS made_version, e.doc AS made_doc, {STORED_COLUMNS}
FROM unnest($2::text[], $3::text[]) AS k (subject, key) CROSS JOIN LATERAL (
  SELECT * FROM idempotency AS one WHERE one.tenant = $1 AND one.subject = k.subject AND one.key = k.key LIMIT 1
) AS i CROSS JOIN LATERAL (
  SELECT * FROM memory_event AS one WHERE one.tenant = $1 AND one.seq = i.seq LIMIT 1
) AS e CROSS JOIN LATERAL (
  SELECT * FROM memory AS one WHERE one.tenant = $1 AND one.namespace = e.namespace AND one.id = e.id LIMIT 1
) AS m
"""  # noqa: S608 - our own words

EXPIRED = f"""
SELECT {STORED_COLUMNS}
FROM memory AS m WHERE m.tenant = $1 AND m.expires_us <= $2 ORDER BY m.expires_us LIMIT $3
"""  # noqa: S608 - our own words

FORGET = """
DELETE FROM idempotency WHERE tenant = $1 AND (subject, key) IN (
  SELECT subject, key FROM idempotency WHERE tenant = $1 AND expires_us <= $2 LIMIT $3
)
"""
#: After a sweep: when the next is due.
NEXT_EXPIRY = """
UPDATE tenant SET next_expiry_us = least(
  (SELECT min(expires_us) FROM memory WHERE tenant = $1 AND expires_us IS NOT NULL),
  (SELECT min(expires_us) FROM idempotency WHERE tenant = $1)
) WHERE tenant = $1
"""

ERASE = """
UPDATE memory_event SET doc = NULL WHERE tenant = $1 AND doc IS NOT NULL AND seq = ANY (ARRAY(
  SELECT e.seq FROM unnest($2::text[], $3::text[]) AS k (namespace, id) CROSS JOIN LATERAL (
    SELECT seq FROM memory_event AS one
    WHERE one.tenant = $1 AND one.namespace = k.namespace AND one.id = k.id OFFSET 0
  ) AS e
))
"""
REQUEST = """
INSERT INTO idempotency (tenant, subject, key, fingerprint, seq, expires_us, is_new)
SELECT $1, * FROM unnest($2::text[], $3::text[], $4::bytea[], $5::bigint[], $6::bigint[], $7::boolean[])
ON CONFLICT (tenant, subject, key) DO UPDATE SET fingerprint = excluded.fingerprint, seq = excluded.seq,
  expires_us = excluded.expires_us, is_new = excluded.is_new
"""

#: All that a batch of changes leaves behind, but what is rare: one statement, one round trip.
WRITE = """
WITH made AS (
  INSERT INTO memory (tenant, namespace, id, position, version, seq, is_deleted, is_erased, type, user_id, agent_id,
    session_id, words, created_us, created_by, expires_us, superseded_by, fingerprint, doc, plain)
  SELECT $1, * FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::boolean[],
    $8::boolean[], $9::text[], $10::bytea[], $11::bytea[], $12::bytea[], $13::integer[], $14::bigint[], $15::text[],
    $16::bigint[], $17::text[], $18::bytea[], $19::bytea[], $20::jsonb[])
  ON CONFLICT (tenant, namespace, id) DO UPDATE SET position = excluded.position, version = excluded.version,
    seq = excluded.seq, is_deleted = excluded.is_deleted, is_erased = excluded.is_erased, type = excluded.type,
    user_id = excluded.user_id, agent_id = excluded.agent_id, session_id = excluded.session_id,
    words = excluded.words, created_us = excluded.created_us, created_by = excluded.created_by,
    expires_us = excluded.expires_us, superseded_by = excluded.superseded_by, fingerprint = excluded.fingerprint,
    doc = excluded.doc, plain = excluded.plain
), told AS (
  INSERT INTO memory_event (tenant, seq, namespace, id, version, op, actor, at_us, doc)
  SELECT $1, * FROM unnest($21::bigint[], $22::text[], $23::text[], $24::bigint[], $25::text[], $26::text[],
    $27::bigint[], $28::bytea[])
), unindexed AS (
  DELETE FROM memory_words WHERE tenant = $1 AND position = ANY ($29::bigint[])
), indexed AS (
  INSERT INTO memory_words (tenant, position, words)
  SELECT $1, position, words::tsvector FROM unnest($30::bigint[], $31::text[]) AS w (position, words)
  ON CONFLICT (tenant, position) DO UPDATE SET words = excluded.words
), grown AS (
  INSERT INTO namespace AS n (tenant, name, created_us, rows, size_bytes, words)
  SELECT $1, * FROM unnest($32::text[], $33::bigint[], $34::bigint[], $35::bigint[], $36::bigint[])
  ON CONFLICT (tenant, name) DO UPDATE SET rows = n.rows + excluded.rows,
    size_bytes = n.size_bytes + excluded.size_bytes, words = n.words + excluded.words
)
UPDATE tenant SET seq = $37, rows = rows + $38, next_expiry_us = least(next_expiry_us, $39) WHERE tenant = $1
"""
