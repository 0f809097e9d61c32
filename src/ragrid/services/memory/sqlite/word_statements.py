"""The statements that ask the full-text index for words. Pure: SQL and its parameters."""

from typing import Any

from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.ranking.bm25 import WEIGHTS
from ragrid.services.memory.sqlite.queries import Statement, conditions_of, tag_joins

#: How much a word weighs in the scope (never), the content, the tags and the data: see ranking/bm25.py.
_WEIGHTS = ", ".join(map(str, (0.0, *WEIGHTS)))


#: Of more memories than that with the words looked for, the newest are scored: it is 1 µs for each.
MOST_SCORED = 50_000


def words_statement(
    namespace: int, expression: str, wanted: Filter, *, now_us: int, limit: int, include_superseded: bool
) -> Statement:
    """Return the statement for the best of what `expression` finds and that may be seen: `(position, score)`.

    Scores are above 0, the best comes first.
    """
    conditions, parameters = conditions_of(namespace, wanted, now_us, include_superseded=include_superseded)
    joins, tag_parameters = tag_joins(namespace, wanted.tags)
    # CROSS JOIN fixes the order: the full-text index first, then what it found.
    sql = f"""
        SELECT position, score FROM (
          SELECT m.position, -bm25(memory_fts, {_WEIGHTS}) AS score
          FROM memory_fts AS f CROSS JOIN memory AS m ON m.position = f.rowid{joins}
          WHERE memory_fts MATCH ? AND {" AND ".join(conditions)} ORDER BY f.rowid DESC LIMIT {MOST_SCORED}
        ) ORDER BY score DESC, position DESC LIMIT ?
    """  # noqa: S608 - only our own words
    return sql, (*tag_parameters, expression, *parameters, limit)


def positions_statement(
    namespace: int, expression: str, wanted: Filter, *, now_us: int, limit: int, include_superseded: bool
) -> Statement:
    """Return the statement for the newest of what `expression` finds: one JSON list of positions.

    Without a filter, the full-text index is asked alone: nothing of it may be shown before `seen_statement` has let it
    through.
    """
    if wanted == Filter():
        sql = "SELECT rowid AS position FROM memory_fts WHERE memory_fts MATCH ? ORDER BY rowid DESC LIMIT ?"
        values: tuple[Any, ...] = (expression, limit)
    else:
        conditions, parameters = conditions_of(namespace, wanted, now_us, include_superseded=include_superseded)
        joins, tag_parameters = tag_joins(namespace, wanted.tags)
        sql = f"""
            SELECT m.position FROM memory_fts AS f CROSS JOIN memory AS m ON m.position = f.rowid{joins}
            WHERE memory_fts MATCH ? AND {" AND ".join(conditions)} ORDER BY f.rowid DESC LIMIT ?
        """  # noqa: S608 - only our own words
        values = (*tag_parameters, expression, *parameters, limit)
    return f"SELECT json_group_array(position) FROM ({sql})", values  # noqa: S608 - see above


def index_statement(expression: str, *, limit: int) -> Statement:
    """Return the statement for what the full-text index alone thinks best: `(position, score)`, as above.

    Nothing of it may be shown before `seen_statement` has let it through, which asks for the namespace.
    """
    sql = f"""
        SELECT position, score FROM (
          SELECT rowid AS position, -bm25(memory_fts, {_WEIGHTS}) AS score FROM memory_fts WHERE memory_fts MATCH ?
          ORDER BY rowid DESC LIMIT {MOST_SCORED}
        ) ORDER BY score DESC, position DESC LIMIT ?
    """  # noqa: S608 - only our own words
    return sql, (expression, limit)
