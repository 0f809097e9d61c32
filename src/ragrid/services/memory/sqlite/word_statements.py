"""The statements that ask the full-text index for words. Pure: SQL and its parameters."""

from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.sqlite.queries import Statement, conditions_of, tag_joins

#: How much a word weighs in the scope (never), the content, the tags and the data.
_WEIGHTS = "0.0, 1.0, 1.0, 0.5"

#: Memories that hold a word, of all namespaces, counted up to a limit.
COUNT = "SELECT count(*) FROM (SELECT 1 FROM memory_fts WHERE memory_fts MATCH ? LIMIT ?)"
#: Those of one namespace, out of few in the store: the small index is asked for each, not the wide rows.
COUNT_HERE = """
SELECT count(*) FROM memory_fts AS f CROSS JOIN memory AS m INDEXED BY memory_live ON m.position = f.rowid
WHERE memory_fts MATCH ? AND m.namespace = ? AND m.is_deleted = 0
"""


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
        SELECT m.position, -bm25(memory_fts, {_WEIGHTS}) AS score
        FROM memory_fts AS f CROSS JOIN memory AS m ON m.position = f.rowid{joins}
        WHERE memory_fts MATCH ? AND {" AND ".join(conditions)}
        ORDER BY score DESC, m.position DESC LIMIT ?
    """  # noqa: S608 - only our own words
    return sql, (*tag_parameters, expression, *parameters, limit)


def index_statement(expression: str, *, limit: int) -> Statement:
    """Return the statement for what the full-text index alone thinks best: `(position, score)`, as above.

    Nothing of it may be shown before `seen_statement` has let it through, which asks for the namespace.
    """
    sql = f"""
        SELECT rowid, -bm25(memory_fts, {_WEIGHTS}) AS score FROM memory_fts WHERE memory_fts MATCH ?
        ORDER BY score DESC, rowid DESC LIMIT ?
    """  # noqa: S608 - only our own words
    return sql, (expression, limit)
