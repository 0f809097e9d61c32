"""The statements behind reads, lists, searches and histories. Pure: each function returns SQL and its parameters.

Each names the tenant, although the server would show no other's rows anyway.
"""

from typing import Any

from ragrid.services.memory.changes import Scope
from ragrid.services.memory.postgresql.lexemes import all_of, any_of, lexemes_of
from ragrid.services.memory.postgresql.telling_words import Asked
from ragrid.services.memory.postgresql.where import DOCUMENT, where
from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.words import folded

Statement = tuple[str, tuple[Any, ...]]

#: Whether it is deleted is no condition inside: that would let the server choose an index of all that are not.
READ = """
SELECT k.number, m.version, m.doc, m.expires_us
FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS k (namespace, id, number) CROSS JOIN LATERAL (
  SELECT version, doc, expires_us, is_deleted FROM memory AS one
  WHERE one.tenant = $1 AND one.namespace = k.namespace AND one.id = k.id LIMIT 1
) AS m WHERE NOT m.is_deleted
"""

#: One row without an event when nothing lies below `$5`, no row when nothing may be seen.
HISTORY = """
SELECT e.seq, e.version, e.op, e.actor, e.at_us, e.doc
FROM memory AS m LEFT JOIN LATERAL (
  SELECT * FROM memory_event AS one
  WHERE one.tenant = $1 AND one.namespace = $2 AND one.id = $3 AND one.seq < $5 ORDER BY one.seq DESC LIMIT $6
) AS e ON true
WHERE m.tenant = $1 AND m.namespace = $2 AND m.id = $3 AND NOT m.is_erased
  AND (m.expires_us IS NULL OR m.expires_us > $4)
ORDER BY e.seq DESC
"""

#: bm25 with its usual constants (https://www.sqlite.org/fts5.html#the_bm25_function) and the rarity that never falls
#: below zero. The server has no count of a word in a text, but `ts_rank` of a single word is 6/π² times the sum of
#: 1/n² over its places, which 1 / (π²/6 - sum) - 1/2 turns back into their number, within 5 %.
_SCORE = """
SELECT sum(a.rarity * f.frequency * 2.2 / (f.frequency + 1.2 * (0.25 + 0.75 * m.words / $5::float8)))
FROM asked AS a
  CROSS JOIN LATERAL (SELECT ts_rank('{0.5, 1, 1, 1}', w.words, a.word) AS rank) AS r
  CROSS JOIN LATERAL (SELECT 1 / (1.6449341 * (1.0001 - r.rank)) - 0.5 AS frequency) AS f
WHERE r.rank > 0
"""
#: One version by its number (`$5`), or the one that was current at `$6`.
PAST = """
SELECT e.version, e.doc FROM memory AS m JOIN LATERAL (
  SELECT * FROM memory_event AS one
  WHERE one.tenant = $1 AND one.namespace = $2 AND one.id = $3
    AND ($5::bigint IS NULL OR one.version = $5) AND ($6::bigint IS NULL OR one.at_us <= $6)
  ORDER BY one.seq DESC LIMIT 1
) AS e ON true
WHERE m.tenant = $1 AND m.namespace = $2 AND m.id = $3 AND NOT m.is_erased
  AND (m.expires_us IS NULL OR m.expires_us > $4)
"""


PAST_DOCUMENTS = """
SELECT e.version, e.doc FROM memory AS m JOIN LATERAL (
  SELECT * FROM memory_event AS one
  WHERE one.tenant = $1 AND one.namespace = $2 AND one.id = m.id AND one.at_us <= $3 ORDER BY one.seq DESC LIMIT 1
) AS e ON true
WHERE m.tenant = $1 AND m.namespace = $2 AND NOT m.is_erased AND (m.expires_us IS NULL OR m.expires_us > $4)
  AND e.doc IS NOT NULL
LIMIT $5
"""


def list_statement(scope: Scope, wanted: Filter, *, now_us: int, limit: int, before: int | None) -> Statement:
    """Return the statement for one page, newest first, with `(position, doc)` in each row.

    With tags, the word index tells which memories carry them all.
    """
    tables, conditions, parameters = _matching(scope, wanted, now_us)
    if before is not None:
        conditions += f" AND m.position < {_parameter(parameters, before)}"
    # Every word of it is ours; what a caller sent is among the parameters.
    sql = f"""
        SELECT m.position, m.doc FROM {tables} WHERE {conditions}
        ORDER BY m.position DESC LIMIT {_parameter(parameters, limit)}
    """  # noqa: S608 - see above
    return sql, tuple(parameters)


def count_statement(scope: Scope, wanted: Filter, *, now_us: int) -> Statement:
    """Return the statement for how many match, and the last `seq` of the tenant at that moment."""
    tables, conditions, parameters = _matching(scope, wanted, now_us)
    sql = f"""
        SELECT count(*), coalesce((SELECT seq FROM tenant WHERE tenant = $1), 0) FROM {tables} WHERE {conditions}
    """  # noqa: S608 - only our own words
    return sql, tuple(parameters)


def chosen_statement(scope: Scope, wanted: Filter, *, now_us: int, up_to_seq: int, limit: int) -> Statement:
    """Return the statement for `(id, version)` of what a filter matches and `up_to_seq` had seen."""
    tables, conditions, parameters = _matching(scope, wanted, now_us)
    sql = f"""
        SELECT m.id, m.version FROM {tables} WHERE {conditions} AND m.seq <= {_parameter(parameters, up_to_seq)}
        ORDER BY m.position LIMIT {_parameter(parameters, limit)}
    """  # noqa: S608 - only our own words
    return sql, tuple(parameters)


def lexemes_in(scope: Scope, words: tuple[str, ...]) -> list[str]:
    """Return the lexemes of a question, each once."""
    lexemes = lexemes_of(scope)
    return list(dict.fromkeys(lexemes.word(word) for one in words for word in folded(one)))


def words_statement(
    scope: Scope, asked: Asked, wanted: Filter, *, now_us: int, limit: int, include_superseded: bool
) -> Statement:
    """Return the statement for memories with any word of `asked`, best first: `(position, score)`, above 0."""
    quoted = [f"'{one}'" for one in asked.lexemes]
    parameters: list[Any] = [scope.tenant, scope.namespace, quoted, asked.rarities, asked.mean]
    conditions = conditions_of(parameters, wanted, now_us, include_superseded=include_superseded)
    carried = [f"'{lexemes_of(scope).tag(tag)}'" for tag in wanted.tags]
    query = _parameter(parameters, "&".join([*carried, f"({any_of(asked.lexemes)})"]))
    document = "" if wanted.where is None else DOCUMENT
    sql = f"""
        WITH asked AS MATERIALIZED (
          SELECT word::tsquery AS word, rarity FROM unnest($3::text[], $4::float8[]) AS a (word, rarity)
        )
        SELECT m.position, ({_SCORE}) AS score
        FROM {_found(query)}{document} WHERE {conditions}
        ORDER BY score DESC, m.position DESC LIMIT {_parameter(parameters, limit)}
    """  # noqa: S608 - only our own words
    return sql, tuple(parameters)


def vectors_statement(
    scope: Scope, model: int, stamps: list[int] | None, wanted: Filter, *, now_us: int, include_superseded: bool
) -> Statement:
    """Return the statement for vectors within a filter, of `stamps` or (None) of all: `(stamp, position)`."""
    parameters: list[Any] = [scope.tenant, scope.namespace, model]
    conditions = conditions_of(parameters, wanted, now_us, include_superseded=include_superseded)
    if stamps is not None:
        conditions += f" AND v.stamp = ANY ({_parameter(parameters, stamps)}::bigint[])"
    tables, conditions = filter_tables(parameters, scope, wanted, "v", conditions)
    sql = f"""
        SELECT v.stamp, v.position
        FROM memory_vector AS v JOIN memory AS m ON m.tenant = v.tenant AND m.position = v.position{tables}
        WHERE v.tenant = $1 AND v.namespace = $2 AND v.model = $3 AND {conditions}
    """  # noqa: S608 - only our own words
    return sql, tuple(parameters)


def filter_tables(parameters: list[Any], scope: Scope, wanted: Filter, beside: str, conditions: str) -> tuple[str, str]:
    """Return what a filter joins to the rows `m`, which have a position in `beside`, and all conditions."""
    tables = ""
    if wanted.tags:
        lexemes = lexemes_of(scope)
        tables += f" JOIN memory_words AS w ON w.tenant = {beside}.tenant AND w.position = {beside}.position"
        carried = _parameter(parameters, all_of(lexemes.tag(tag) for tag in wanted.tags))
        conditions += f" AND w.words @@ {carried}::text::tsquery"
    if wanted.where is not None:
        tables += DOCUMENT
    return tables, conditions


def _found(query: str) -> str:
    """Return the tables `w` and `m` for what the word index has for a query.

    The index first, and its rows one by one: the server cannot know that a digest is in few rows, and that those are
    all of one tenant.
    """
    return f"""
        (SELECT tenant, position, words FROM memory_words WHERE words @@ {query}::text::tsquery OFFSET 0) AS w
        CROSS JOIN LATERAL (
          SELECT * FROM memory AS one WHERE one.tenant = $1 AND one.position = w.position AND w.tenant = $1 LIMIT 1
        ) AS m
    """  # noqa: S608 - only our own words


def _matching(scope: Scope, wanted: Filter, now_us: int) -> tuple[str, str, list[Any]]:
    """Return tables, conditions and parameters of what a filter matches; the word index tells who carries a tag."""
    parameters: list[Any] = [scope.tenant, scope.namespace]
    conditions = conditions_of(parameters, wanted, now_us)
    tables = "memory AS m"
    if wanted.tags:
        lexemes = lexemes_of(scope)
        tables = _found(_parameter(parameters, all_of(lexemes.tag(tag) for tag in wanted.tags)))
    return tables + (DOCUMENT if wanted.where is not None else ""), conditions, parameters


def conditions_of(parameters: list[Any], wanted: Filter, now_us: int, *, include_superseded: bool = True) -> str:
    """Return what a row `m` has to meet; `$1` and `$2` are tenant and namespace already."""
    conditions = "m.tenant = $1 AND m.namespace = $2 AND NOT m.is_deleted"
    conditions += f" AND (m.expires_us IS NULL OR m.expires_us > {_parameter(parameters, now_us)})"
    if not include_superseded:
        conditions += " AND m.superseded_by IS NULL"
    if wanted.type is not None:
        conditions += f" AND m.type = {_parameter(parameters, wanted.type)}"
    for column in ("user_id", "agent_id", "session_id"):
        value: str | None = getattr(wanted, column)
        if value is not None:
            conditions += f" AND m.{column} = {_parameter(parameters, value.encode())}"
    if wanted.where is not None:
        conditions += f" AND {where(wanted.where, parameters)}"
    return conditions


def _parameter(parameters: list[Any], value: object) -> str:
    parameters.append(value)
    return f"${len(parameters)}"
