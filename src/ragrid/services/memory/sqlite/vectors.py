"""The statements about vectors and their outbox. Pure: SQL and its parameters."""

import msgspec

from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.sqlite.queries import ROOM_COLUMNS, Statement, conditions_of, tag_joins

#: The models of the grid's embedders; those that callers bring have numbers below 0.
MODELS = "SELECT number, name, dimension, state FROM embedding_model WHERE number > 0"
MODEL_NUMBER = "SELECT number, dimension FROM embedding_model WHERE name = ? AND number > 0"
ROOM = f"SELECT {ROOM_COLUMNS} FROM namespace WHERE id = ?"  # noqa: S608 - our own words
COUNT = "SELECT count(*) FROM memory_vector WHERE model = ? AND namespace = ?"
NEW_VECTORS = """
SELECT stamp, vector FROM memory_vector WHERE model = ? AND namespace = ? AND stamp > ? ORDER BY stamp LIMIT ?
"""
DUE = """
SELECT o.position, o.since_us, o.attempts, m.doc FROM embedding_outbox AS o JOIN memory AS m ON m.position = o.position
WHERE o.model = ? AND o.is_given_up = 0 AND o.next_us <= ? ORDER BY o.since_us LIMIT ?
"""
OUTBOX = """
SELECT count(*) FILTER (WHERE is_given_up = 0), count(*) FILTER (WHERE is_given_up = 1),
  min(since_us) FILTER (WHERE is_given_up = 0)
FROM embedding_outbox WHERE model = ?
"""
STATES = """
SELECT m.id,
  EXISTS (SELECT 1 FROM memory_vector AS v WHERE v.position = m.position AND v.model = ?1),
  (SELECT o.is_given_up FROM embedding_outbox AS o WHERE o.position = m.position AND o.model = ?1)
FROM json_each(?2) AS c CROSS JOIN memory AS m ON m.namespace = ?3 AND m.id = c.value
WHERE m.is_deleted = 0
"""
THERE = "SELECT count(*) FROM json_each(?) AS c CROSS JOIN memory_vector AS v ON v.stamp = c.value"

_encode = msgspec.json.Encoder().encode


def holding_statement(
    namespace: int, model: int, stamps: list[int], wanted: Filter, *, now_us: int, include_superseded: bool
) -> Statement:
    """Return the statement for those of `stamps` that still hold and lie within the filter.

    Rows are `(stamp, position, vector)`.
    """
    conditions, parameters = conditions_of(namespace, wanted, now_us, include_superseded=include_superseded)
    joins, tag_parameters = tag_joins(namespace, wanted.tags)
    sql = f"""
        SELECT v.stamp, v.position, v.vector FROM json_each(?) AS c CROSS JOIN memory_vector AS v ON v.stamp = c.value
        CROSS JOIN memory AS m ON m.position = v.position{joins}
        WHERE v.model = ? AND {" AND ".join(conditions)}
    """  # noqa: S608 - only our own words
    return sql, (_encode(stamps).decode(), *tag_parameters, model, *parameters)


def allowed_statement(
    namespace: int, model: int, wanted: Filter, *, now_us: int, include_superseded: bool
) -> Statement:
    """Return the statement for the stamps of all vectors within the filter: `(stamp, position)`."""
    conditions, parameters = conditions_of(namespace, wanted, now_us, include_superseded=include_superseded)
    joins, tag_parameters = tag_joins(namespace, wanted.tags)
    sql = f"""
        SELECT v.stamp, v.position FROM memory AS m{joins}
        JOIN memory_vector AS v ON v.position = m.position AND v.model = ? WHERE {" AND ".join(conditions)}
    """  # noqa: S608 - only our own words
    return sql, (*tag_parameters, model, *parameters)
