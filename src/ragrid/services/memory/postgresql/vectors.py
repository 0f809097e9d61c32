"""The statements about models, vectors and their outbox. Pure.

`embedding_outbox` shows no contents and belongs to no tenant alone: whoever embeds takes the oldest texts of all, and
reads each as its tenant. Vectors say much of what they stand for; they are fenced like memories.
"""

from ragrid.services.memory.postgresql.rooms import ROOM_COLUMNS

#: The models of the grid's embedders. Those that callers bring stand beside each namespace.
MODELS = "SELECT number, name, dimension, state FROM embedding_model"
ROOM = f"SELECT {ROOM_COLUMNS} FROM namespace WHERE tenant = $1 AND name = $2"  # noqa: S608 - our own words
NAME_BROUGHT = "UPDATE namespace SET brought_model = $3, brought_dimension = $4 WHERE tenant = $1 AND name = $2"
MODEL = "SELECT number, dimension FROM embedding_model WHERE name = $1"
LOCK_MODELS = "LOCK TABLE embedding_model IN SHARE ROW EXCLUSIVE MODE"
ADD_MODEL = "INSERT INTO embedding_model (name, state) VALUES ($1, 'filling') ON CONFLICT DO NOTHING"
STATES = "SELECT name, state FROM embedding_model"
SET_STATE = "UPDATE embedding_model SET state = $2 WHERE name = $1"
CLEAR_IDLE = """
DELETE FROM embedding_outbox AS o USING embedding_model AS m
WHERE m.number = o.model AND m.state NOT IN ('active', 'filling')
"""
EMBEDDING_STATES = """
SELECT m.id,
  EXISTS (SELECT FROM memory_vector AS v WHERE v.tenant = $1 AND v.position = m.position AND v.model = $4),
  (SELECT o.is_given_up FROM embedding_outbox AS o
   WHERE o.tenant = $1 AND o.position = m.position AND o.model = $4)
FROM memory AS m
WHERE m.tenant = $1 AND m.namespace = $2 AND m.id = ANY ($3) AND NOT m.is_deleted
"""
SET_DIMENSION = "UPDATE embedding_model SET dimension = coalesce(dimension, $2) WHERE number = $1 RETURNING dimension"

#: What a batch of changes means for outbox and vectors: `$5` is the digest of the text, NULL where the memory is gone;
#: `$6` tells whether there is one and an embedder may have it.
#: A text that did not change keeps its vectors, every other one waits for new ones.
FOLLOW = """
WITH said AS (
  SELECT * FROM unnest($2::bigint[], $3::text[], $4::bigint[], $5::bytea[], $6::boolean[])
    AS k (position, namespace, at_us, digest, is_embedded)
), gone AS (
  DELETE FROM memory_vector AS v USING said AS k
  WHERE v.tenant = $1 AND v.position = k.position AND v.digest IS DISTINCT FROM k.digest
), silent AS (
  DELETE FROM embedding_outbox AS o USING said AS k
  WHERE o.tenant = $1 AND o.position = k.position AND NOT k.is_embedded
)
INSERT INTO embedding_outbox AS o (tenant, position, model, namespace, digest, since_us, next_us)
SELECT $1, k.position, m.number, k.namespace, k.digest, k.at_us, k.at_us
FROM said AS k CROSS JOIN embedding_model AS m
WHERE m.state IN ('active', 'filling') AND k.is_embedded AND NOT EXISTS (
  SELECT FROM memory_vector AS v
  WHERE v.tenant = $1 AND v.position = k.position AND v.model = m.number AND v.digest = k.digest
)
ON CONFLICT (tenant, position, model) DO UPDATE SET digest = excluded.digest, since_us = excluded.since_us,
  next_us = excluded.next_us, attempts = 0, is_given_up = false, reason = NULL
"""

#: The tenant to fill next, and where to stop in it.
NEXT_TENANT = "SELECT tenant, number FROM tenant WHERE number >= $1 ORDER BY number LIMIT 1"
SEEN = "SELECT position FROM memory WHERE tenant = $1 AND position > $2 ORDER BY position LIMIT 1 OFFSET $3"
#: An empty digest: whatever the text is when its vector comes.
LACKING = """
INSERT INTO embedding_outbox (tenant, position, model, namespace, digest, since_us, next_us)
SELECT $1, m.position, $2, m.namespace, '', $3, $3 FROM memory AS m
WHERE m.tenant = $1 AND m.position > $4 AND m.position <= $5 AND NOT m.is_deleted
  AND NOT EXISTS (
    SELECT FROM memory_vector AS v WHERE v.tenant = $1 AND v.position = m.position AND v.model = $2
  )
  AND m.namespace NOT IN (
    SELECT name FROM namespace
    WHERE tenant = $1 AND convert_from(settings, 'UTF8')::jsonb ->> 'embedder' IN ('given', 'none')
  )
ON CONFLICT DO NOTHING
"""

CLAIM = """
UPDATE embedding_outbox SET next_us = $2 + $3 WHERE number IN (
  SELECT number FROM embedding_outbox WHERE model = $1 AND NOT is_given_up AND next_us <= $2
  ORDER BY since_us, number LIMIT $4 FOR UPDATE SKIP LOCKED
) RETURNING number, tenant, position, since_us, attempts
"""
RELEASE = "UPDATE embedding_outbox SET next_us = $2 WHERE number = ANY ($1::bigint[])"
DOCUMENTS = "SELECT position, doc FROM memory WHERE tenant = $1 AND position = ANY ($2::bigint[])"

WHOSE = "SELECT number, tenant FROM embedding_outbox WHERE model = $1 AND number = ANY ($2::bigint[])"
WAITING = """
SELECT o.number, o.position, o.namespace
FROM unnest($3::bigint[], $4::bytea[]) AS k (number, digest) CROSS JOIN LATERAL (
  SELECT * FROM embedding_outbox AS one WHERE one.number = k.number LIMIT 1
) AS o
WHERE o.tenant = $1 AND o.model = $2 AND o.digest IN (k.digest, '')
"""
#: Stamps grow in the order of commits, as `seq` does: what a cache has not seen is what has a higher one.
STAMPS = "UPDATE tenant SET last_stamp = last_stamp + $2 WHERE tenant = $1 RETURNING last_stamp"
KEEP = """
INSERT INTO memory_vector (tenant, model, position, namespace, digest, stamp, vector)
SELECT $1, $2, * FROM unnest($3::bigint[], $4::text[], $5::bytea[], $6::bigint[], $7::bytea[])
ON CONFLICT (tenant, position, model)
  DO UPDATE SET digest = excluded.digest, stamp = excluded.stamp, vector = excluded.vector
"""
LEAVE_POSITIONS = "DELETE FROM embedding_outbox WHERE tenant = $1 AND model = $2 AND position = ANY ($3::bigint[])"
LEAVE = "DELETE FROM embedding_outbox WHERE tenant = $1 AND number = ANY ($2::bigint[])"

REFUSED = """
UPDATE embedding_outbox AS o SET attempts = o.attempts + 1, next_us = coalesce(k.retry_us, 0),
  is_given_up = k.retry_us IS NULL, reason = k.reason
FROM unnest($2::bigint[], $3::bytea[], $4::text[], $5::bigint[]) AS k (number, digest, reason, retry_us)
WHERE o.model = $1 AND o.number = k.number AND o.digest IN (k.digest, '')
"""
RETRY = """
UPDATE embedding_outbox SET attempts = 0, is_given_up = false, next_us = $2
WHERE model = $1 AND is_given_up AND ($3::text IS NULL OR tenant = $3)
"""
OUTBOX = """
SELECT count(*) FILTER (WHERE NOT is_given_up), count(*) FILTER (WHERE is_given_up),
  min(since_us) FILTER (WHERE NOT is_given_up)
FROM embedding_outbox WHERE model = $1
"""
STATE = "SELECT state FROM embedding_model WHERE number = $1"
STILL_WAITING = "SELECT FROM embedding_outbox WHERE model = $1 AND NOT is_given_up LIMIT 1"
TAKE_OVER = """
WITH before AS (UPDATE embedding_model SET state = 'replaced' WHERE state = 'active')
UPDATE embedding_model SET state = 'active' WHERE number = $1
"""
DROPPED = "SELECT number, dropped_to FROM embedding_model WHERE state = 'dropped' ORDER BY number LIMIT 1"
DROP = """
DELETE FROM memory_vector WHERE tenant = $1 AND model = $2 AND position IN (
  SELECT position FROM memory_vector WHERE tenant = $1 AND model = $2 LIMIT $3
)
"""
DROPPED_TO = "UPDATE embedding_model SET dropped_to = $2 WHERE number = $1"
FORGET_MODEL = "DELETE FROM embedding_model WHERE number = $1"

COUNT = "SELECT count(*) FROM memory_vector WHERE tenant = $1 AND namespace = $2 AND model = $3"
NEW_VECTORS = """
SELECT stamp, vector FROM memory_vector
WHERE tenant = $1 AND namespace = $2 AND model = $3 AND stamp > $4 ORDER BY stamp LIMIT $5
"""
THERE = """
SELECT count(*) FROM memory_vector
WHERE tenant = $1 AND namespace = $2 AND model = $3 AND stamp = ANY ($4::bigint[])
"""
FACTS = "SELECT position, doc FROM memory WHERE tenant = $1 AND position = ANY ($2::bigint[])"
