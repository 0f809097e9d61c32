"""One search by meaning through the server's index, exact wherever the index cannot be, in the caller's snapshot."""

from collections.abc import Sequence
from typing import NamedTuple

import asyncpg

from ragrid.services.memory.embedding.matrix import unpack
from ragrid.services.memory.metrics import NEAREST_SEARCHES
from ragrid.services.memory.postgresql.nearest_statements import (
    DIMENSION_LIMIT,
    TAIL,
    Question,
    among_statement,
    few_statement,
    index_statement,
)
from ragrid.services.memory.postgresql.queries import Statement, vectors_statement
from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.ranking.fusion import Ranked

#: Vectors that are not in the index yet and are compared one by one; with more of them, all are.
TAIL_LIMIT = 1000
#: Where a filter lets no more through, just those are compared, exactly.
FEW = 2000

#: Sorting would compare with all vectors; without it, the order can only come from the index. The index is searched
#: twice as wide as what is asked for, and walked on until enough met the filter; its rows are sorted here. For a filter
#: that kept a tenth of 30,000, strict order found 94 % of the ten nearest, relaxed order 99 %, in the same time.
_BY_INDEX = """
SELECT set_config('enable_sort', 'off', true), set_config('hnsw.ef_search', '200', true),
  set_config('hnsw.iterative_scan', 'relaxed_order', true)
"""
_WITH_SORT = "SELECT set_config('enable_sort', 'on', true)"


class _Found(NamedTuple):
    """A row that holds and meets the filter."""

    score: float
    stamp: int
    position: int


async def nearest(connection: asyncpg.Connection, asked: Question) -> Ranked | None:
    """Return the nearest above 0, best first; None where the index does not have this namespace, or is far behind."""
    if len(asked.vector) > DIMENSION_LIMIT:
        return None
    place = (asked.scope.tenant, asked.scope.namespace, asked.model)
    rows = await connection.fetch(TAIL, *place, TAIL_LIMIT + 1)
    if not rows or len(rows) > TAIL_LIMIT:
        return None
    tail = [row for row in rows if row["stamp"] is not None]
    found = await _indexed(connection, asked)
    if tail:
        found = [*found, *await _behind(connection, asked, tail)]
    ordered = sorted(found, key=lambda one: (-one.score, -one.stamp))
    return [(one.position, one.score) for one in ordered[: asked.limit] if one.score > 0]


async def _indexed(connection: asyncpg.Connection, asked: Question) -> Sequence[_Found]:
    """Return the nearest of what is in the index, and note by which way they were found."""
    if asked.wanted != Filter():
        few = await _fetch(connection, few_statement(asked, limit=FEW + 1))
        if len(few) <= FEW:
            NEAREST_SEARCHES.labels("few").inc()
            return _found(await _fetch(connection, among_statement(asked, [row["position"] for row in few])))
    await connection.execute(_BY_INDEX)
    found = _found(await _fetch(connection, index_statement(asked)))
    await connection.execute(_WITH_SORT)
    if len(found) == asked.limit:
        NEAREST_SEARCHES.labels("index").inc()
        return found
    # The index was looked through as far as it may be, and there may be more.
    NEAREST_SEARCHES.labels("all").inc()
    return _found(await _fetch(connection, index_statement(asked, is_exact=True)))


async def _behind(connection: asyncpg.Connection, asked: Question, tail: Sequence[asyncpg.Record]) -> Sequence[_Found]:
    """Return all of those that the index does not have yet and that meet the filter."""
    statement = vectors_statement(
        asked.scope,
        asked.model,
        [row["stamp"] for row in tail],
        asked.wanted,
        now_us=asked.now_us,
        include_superseded=asked.include_superseded,
    )
    positions = {row["stamp"]: row["position"] for row in await _fetch(connection, statement)}
    scores = unpack([row["vector"] for row in tail], len(asked.vector)) @ asked.vector
    return [
        _Found(float(score), row["stamp"], positions[row["stamp"]])
        for row, score in zip(tail, scores, strict=True)
        if row["stamp"] in positions
    ]


async def _fetch(connection: asyncpg.Connection, statement: Statement) -> Sequence[asyncpg.Record]:
    sql, parameters = statement
    rows: Sequence[asyncpg.Record] = await connection.fetch(sql, *parameters)
    return rows


def _found(rows: Sequence[asyncpg.Record]) -> Sequence[_Found]:
    return [_Found(row["score"], row["stamp"], row["position"]) for row in rows]
