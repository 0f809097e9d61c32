"""Search over the word index and the vectors, in one snapshot."""

from collections.abc import Sequence

import asyncpg
import msgspec
import numpy as np

from ragrid.services.memory.changes import Scope
from ragrid.services.memory.embedding.matrix import best
from ragrid.services.memory.embedding.sources import GridModel, asked_number, models_of
from ragrid.services.memory.errors import StoreBrokenError
from ragrid.services.memory.metrics import NEAREST_SEARCHES, SEARCH_SECONDS
from ragrid.services.memory.namespaces import EMPTY, Embedder, Room
from ragrid.services.memory.postgresql.connections import Connections
from ragrid.services.memory.postgresql.nearest import GONE
from ragrid.services.memory.postgresql.nearest_search import nearest
from ragrid.services.memory.postgresql.nearest_statements import Question
from ragrid.services.memory.postgresql.pool import server_answered
from ragrid.services.memory.postgresql.queries import PAST_DOCUMENTS, lexemes_in, vectors_statement, words_statement
from ragrid.services.memory.postgresql.rooms import room_of
from ragrid.services.memory.postgresql.telling_words import COUNTS, Count, telling
from ragrid.services.memory.postgresql.vector_cache import VectorCache
from ragrid.services.memory.postgresql.vectors import FACTS, MODELS, ROOM, THERE
from ragrid.services.memory.protocol.memories import Filter, past_read
from ragrid.services.memory.protocol.search import Hit, QueryVector
from ragrid.services.memory.ranking.facts import facts_of
from ragrid.services.memory.ranking.fusion import PLAIN, Ranked, Ranking, Scored, adjust, fuse, pool_size

#: Vectors that are asked first whether they still hold: times what is wanted.
_FIRST_LOOK = 2


class _Asked(msgspec.Struct, frozen=True):
    scope: Scope
    query: tuple[str, ...]
    wanted: Filter
    ranking: Ranking
    now_us: int
    pool: int


class PostgresSearch(Connections):
    """See protocol/search.py."""

    vector_cache: VectorCache

    async def embedder_of(self, scope: Scope) -> Embedder:
        """See Search."""
        rows = await self.rows(scope.tenant, ROOM, scope.tenant, scope.namespace)
        return room_of(rows[0]).settings.embedder if rows else "grid"

    async def past_documents(self, scope: Scope, *, as_of_us: int, now_us: int, limit: int) -> tuple[bytes, ...]:
        """See Search."""
        asked = (scope.tenant, scope.namespace, as_of_us, now_us, limit)
        rows = await self.rows(scope.tenant, PAST_DOCUMENTS, *asked)
        return tuple(row["doc"] for row in rows if past_read(row["version"], row["doc"], as_of_us))

    async def search(
        self,
        scope: Scope,
        query: tuple[str, ...],
        wanted: Filter,
        *,
        now_us: int,
        limit: int,
        vector: QueryVector | None = None,
        ranking: Ranking = PLAIN,
    ) -> tuple[Hit, ...]:
        """See Search."""
        if not query and vector is None:
            return ()
        mode = "lexical" if vector is None else "hybrid" if query else "semantic"
        # Words alone, in their plain order, need no more than what is shown.
        pool = limit if mode == "lexical" and ranking.is_plain else pool_size(limit)
        asked = _Asked(scope, query, wanted, ranking, now_us, pool)
        with SEARCH_SECONDS.labels(mode).time():
            try:
                return await self._found(asked, vector, limit)
            except StoreBrokenError as error:
                if not isinstance(error.__cause__, GONE):
                    raise
                self.nearest.lose(error.__cause__)
            return await self._found(asked, vector, limit)

    async def _found(self, asked: _Asked, vector: QueryVector | None, limit: int) -> tuple[Hit, ...]:
        async with (
            self.pool.reader(asked.scope.tenant) as connection,
            # All statements see the same moment.
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            words = await _by_words(connection, asked) if asked.query else None
            server_answered()
            meanings = None if vector is None else await self._by_meaning(connection, asked, vector)
            return await _hits(connection, fuse(words, meanings, pool=asked.pool), asked, limit)

    async def _by_meaning(self, connection: asyncpg.Connection, asked: _Asked, vector: QueryVector) -> Ranked:
        """Return the nearest: each row that is passed on was seen to hold, in this snapshot."""
        room, models = await sources(connection, asked.scope)
        model = asked_number(room, models, vector.model, len(vector.values))
        if model is None:
            return []
        if self.nearest.has(model):
            ranked = await nearest(connection, _question(asked, model, vector))
            if ranked is not None:
                return ranked
        if self.nearest.is_there:
            NEAREST_SEARCHES.labels("all").inc()
        return await self._compared(connection, asked, model, vector)

    async def _compared(self, connection: asyncpg.Connection, asked: _Asked, model: int, vector: QueryVector) -> Ranked:
        """Compare with all vectors: exact."""
        stamps, scores = await self.vector_cache.compare(connection, asked.scope, model, vector.values)
        size = _FIRST_LOOK * asked.pool
        near = best(scores, size)
        positions = await _holding(connection, asked, model, stamps[near].tolist())
        if len(positions) < len(near):
            gone = [stamp for stamp in stamps[near].tolist() if stamp not in positions]
            there: int = await connection.fetchval(THERE, *msgspec.structs.astuple(asked.scope), model, gone)
            self.vector_cache.note_stale(asked.scope, model, len(gone) - there)
        if len(positions) < asked.pool and size < len(scores):
            # The filter, or what was deleted, left too few of the nearest: look at all that may be found.
            positions = await _holding(connection, asked, model, None)
            scores = np.where(np.isin(stamps, np.fromiter(positions, np.int64)), scores, np.float32(-1))
            near = best(scores, asked.pool)
        ranked = [
            (positions[stamp], float(score))
            for stamp, score in zip(stamps[near].tolist(), scores[near].tolist(), strict=True)
            if stamp in positions and score > 0
        ]
        return ranked[: asked.pool]


async def sources(connection: asyncpg.Connection, scope: Scope) -> tuple[Room, tuple[GridModel, ...]]:
    """Return what a namespace says of its vectors, and the models of the grid."""
    row = await connection.fetchrow(ROOM, scope.tenant, scope.namespace)
    return EMPTY if row is None else room_of(row), models_of(await connection.fetch(MODELS))


def _question(asked: _Asked, model: int, vector: QueryVector) -> Question:
    include_superseded = asked.ranking.include_superseded
    return Question(asked.scope, model, vector.values, asked.wanted, asked.now_us, include_superseded, asked.pool)


async def _holding(
    connection: asyncpg.Connection, asked: _Asked, model: int, stamps: list[int] | None
) -> dict[int, int]:
    """Return the positions of those of `stamps` (None: of all) that still hold and lie within the filter."""
    sql, parameters = vectors_statement(
        asked.scope,
        model,
        stamps,
        asked.wanted,
        now_us=asked.now_us,
        include_superseded=asked.ranking.include_superseded,
    )
    rows = await connection.fetch(sql, *parameters)
    return {row["stamp"]: row["position"] for row in rows}


async def _by_words(connection: asyncpg.Connection, asked: _Asked) -> Ranked:
    lexemes = {f"'{one}'": one for one in lexemes_in(asked.scope, asked.query)}
    counts = await connection.fetch(COUNTS, *msgspec.structs.astuple(asked.scope), list(lexemes))
    if not counts:
        return []
    words = telling(
        [Count(lexemes[row["word"]], row["holding"]) for row in counts], counts[0]["rows"], counts[0]["mean"]
    )
    if not words.lexemes:
        return []
    sql, parameters = words_statement(
        asked.scope,
        words,
        asked.wanted,
        now_us=asked.now_us,
        limit=asked.pool,
        include_superseded=asked.ranking.include_superseded,
    )
    return [(position, score) for position, score in await connection.fetch(sql, *parameters)]


async def _hits(connection: asyncpg.Connection, found: Sequence[Scored], asked: _Asked, limit: int) -> tuple[Hit, ...]:
    ranking = asked.ranking
    looked_at = found[:limit] if ranking.is_plain else found
    if not looked_at:
        return ()
    rows = await connection.fetch(FACTS, asked.scope.tenant, [one.position for one in looked_at])
    docs: dict[int, bytes] = {row["position"]: row["doc"] for row in rows}
    facts = {} if ranking.is_plain else {position: facts_of(doc) for position, doc in docs.items()}
    kept = adjust(looked_at, facts, ranking, now_us=asked.now_us)
    return tuple(Hit(min(one.score, 1.0), docs[one.position], one.explanation) for one in kept[:limit])
