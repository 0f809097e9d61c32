"""The statements that a writing transaction is made of. Each names the tenant, and the server checks it once more."""

#: Take the tenant's lock: who holds it is the only one that writes for this tenant, in this or any other process.
LOCK = """
SELECT seq, pg_current_xact_id()::text, set_config('ragrid.tenant', tenant, true)
FROM tenant WHERE tenant = $1 FOR UPDATE
"""
FIRST = "INSERT INTO tenant (tenant) VALUES ($1) ON CONFLICT DO NOTHING"

STORED_COLUMNS = "m.position, m.version, m.doc, m.created_us, m.created_by, m.expires_us, m.is_deleted"

CURRENT = f"""
SELECT m.namespace, m.id, m.words, {STORED_COLUMNS}
FROM unnest($2::text[], $3::text[]) AS k (namespace, id)
  JOIN memory AS m ON m.tenant = $1 AND m.namespace = k.namespace AND m.id = k.id
"""  # noqa: S608 - our own words

#: What idempotency keys led to, with the current state of the memories that they made.
REQUESTS = f"""
SELECT i.subject, i.key, i.fingerprint, i.seq AS request_seq, i.expires_us AS request_expires_us,
  e.version AS made_version, e.doc AS made_doc, m.namespace, m.id, m.words, {STORED_COLUMNS}
FROM unnest($2::text[], $3::text[]) AS k (subject, key)
  JOIN idempotency AS i ON i.tenant = $1 AND i.subject = k.subject AND i.key = k.key
  JOIN memory_event AS e ON e.tenant = $1 AND e.seq = i.seq
  JOIN memory AS m ON m.tenant = $1 AND m.namespace = e.namespace AND m.id = e.id
"""  # noqa: S608 - our own words

EXPIRED = f"""
SELECT m.namespace, m.id, m.words, {STORED_COLUMNS}
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
UPDATE memory_event AS e SET doc = NULL FROM unnest($2::text[], $3::text[]) AS k (namespace, id)
WHERE e.tenant = $1 AND e.namespace = k.namespace AND e.id = k.id AND e.doc IS NOT NULL
"""
REQUEST = """
INSERT INTO idempotency (tenant, subject, key, fingerprint, seq, expires_us)
SELECT $1, * FROM unnest($2::text[], $3::text[], $4::bytea[], $5::bigint[], $6::bigint[])
ON CONFLICT (tenant, subject, key)
  DO UPDATE SET fingerprint = excluded.fingerprint, seq = excluded.seq, expires_us = excluded.expires_us
"""

#: All that a batch of changes leaves behind, but what is rare: one statement, one round trip.
WRITE = """
WITH made AS (
  INSERT INTO memory (tenant, namespace, id, position, version, seq, op, is_deleted, type, user_id, agent_id,
    session_id, words, created_us, created_by, expires_us, doc, plain)
  SELECT $1, * FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[],
    $8::boolean[], $9::text[], $10::bytea[], $11::bytea[], $12::bytea[], $13::integer[], $14::bigint[], $15::text[],
    $16::bigint[], $17::bytea[], $18::jsonb[])
  ON CONFLICT (tenant, namespace, id) DO UPDATE SET position = excluded.position, version = excluded.version,
    seq = excluded.seq, op = excluded.op, is_deleted = excluded.is_deleted, type = excluded.type,
    user_id = excluded.user_id, agent_id = excluded.agent_id, session_id = excluded.session_id,
    words = excluded.words, created_us = excluded.created_us, created_by = excluded.created_by,
    expires_us = excluded.expires_us, doc = excluded.doc, plain = excluded.plain
), told AS (
  INSERT INTO memory_event (tenant, seq, namespace, id, version, op, actor, at_us, doc)
  SELECT $1, * FROM unnest($19::bigint[], $20::text[], $21::text[], $22::bigint[], $23::text[], $24::text[],
    $25::bigint[], $26::bytea[])
), unindexed AS (
  DELETE FROM memory_words WHERE tenant = $1 AND position = ANY ($27::bigint[])
), indexed AS (
  INSERT INTO memory_words (tenant, position, words)
  SELECT $1, position, words::tsvector FROM unnest($28::bigint[], $29::text[]) AS w (position, words)
  ON CONFLICT (tenant, position) DO UPDATE SET words = excluded.words
), grown AS (
  INSERT INTO namespace AS n (tenant, name, created_us, documents, words)
  SELECT $1, * FROM unnest($30::text[], $31::bigint[], $32::bigint[], $33::bigint[])
  ON CONFLICT (tenant, name)
    DO UPDATE SET documents = n.documents + excluded.documents, words = n.words + excluded.words
)
UPDATE tenant SET seq = $34, rows = rows + $35, next_expiry_us = least(next_expiry_us, $36) WHERE tenant = $1
"""
