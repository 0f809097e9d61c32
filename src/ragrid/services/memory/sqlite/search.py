"""Search over the full-text index and the vectors, in one snapshot."""

from collections.abc import Sequence

import apsw
import msgspec
import numpy as np

from ragrid.services.memory.changes import Scope
from ragrid.services.memory.embedding.matrix import best
from ragrid.services.memory.metrics import SEARCH_SECONDS
from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.protocol.search import Hit, QueryVector
from ragrid.services.memory.ranking.facts import facts_of
from ragrid.services.memory.ranking.fusion import PLAIN, Ranked, Ranking, Scored, adjust, fuse, pool_size
from ragrid.services.memory.sqlite.connections import Connections
from ragrid.services.memory.sqlite.files import fetch
from ragrid.services.memory.sqlite.queries import words_statement
from ragrid.services.memory.sqlite.vector_cache import VectorCache
from ragrid.services.memory.sqlite.vectors import FACTS, MODEL_NUMBER, THERE, allowed_statement, holding_statement

#: Vectors that are asked first whether they still hold: times what is wanted.
_FIRST_LOOK = 2

_encode = msgspec.json.Encoder().encode


class SqliteSearch(Connections):
    """See protocol/search.py."""

    vector_cache: VectorCache

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
        asked = _Asked(query, wanted, vector, ranking, now_us, pool)

        def work(reader: apsw.Connection) -> tuple[Hit, ...]:
            number = self.number(reader, scope)
            if number is None:
                return ()
            with reader:  # all statements see the same moment
                words = _by_words(reader, number, asked) if query else None
                meanings = None if vector is None else self._by_meaning(reader, number, asked, vector)
                hits = _hits(reader, fuse(words, meanings), asked, limit)
            return hits  # noqa: RET504 - for mypy, a `with` may swallow what is raised in it

        with SEARCH_SECONDS.labels(mode).time():
            return await self.in_pool(work)

    def _by_meaning(self, reader: apsw.Connection, number: int, asked: "_Asked", vector: QueryVector) -> Ranked:
        """Return the nearest, exactly: each row that is passed on was seen to hold, in this snapshot."""
        found = fetch(reader, MODEL_NUMBER, (vector.model,))
        if not found or found[0][1] != len(vector.values):
            return []
        model: int = found[0][0]
        stamps, scores = self.vector_cache.compare(reader, number, model, vector.values)
        now_us, include_superseded = asked.now_us, asked.ranking.include_superseded
        size = _FIRST_LOOK * asked.pool
        near = best(scores, size)
        holding = holding_statement(
            number,
            model,
            stamps[near].tolist(),
            asked.wanted,
            now_us=now_us,
            include_superseded=include_superseded,
        )
        positions = dict(fetch(reader, *holding))
        if len(positions) < len(near):
            gone = [stamp for stamp in stamps[near].tolist() if stamp not in positions]
            there: int = fetch(reader, THERE, (_encode(gone).decode(),))[0][0]
            self.vector_cache.note_stale(number, model, len(gone) - there)
        if len(positions) < asked.pool and size < len(scores):
            # The filter, or what was deleted, left too few of the nearest: look at all that may be found.
            allowed = allowed_statement(
                number, model, asked.wanted, now_us=now_us, include_superseded=include_superseded
            )
            positions = dict(fetch(reader, *allowed))
            scores = np.where(np.isin(stamps, np.fromiter(positions, np.int64)), scores, np.float32(-1))
            near = best(scores, asked.pool)
        ranked = [
            (positions[stamp], float(score))
            for stamp, score in zip(stamps[near].tolist(), scores[near].tolist(), strict=True)
            if stamp in positions and score > 0
        ]
        return ranked[: asked.pool]


class _Asked(msgspec.Struct, frozen=True):
    query: tuple[str, ...]
    wanted: Filter
    vector: QueryVector | None
    ranking: Ranking
    now_us: int
    pool: int


def _by_words(reader: apsw.Connection, number: int, asked: _Asked) -> Ranked:
    statement = words_statement(
        number,
        asked.query,
        asked.wanted,
        now_us=asked.now_us,
        limit=asked.pool,
        include_superseded=asked.ranking.include_superseded,
    )
    return [(position, score) for position, score in fetch(reader, *statement)]


def _hits(reader: apsw.Connection, found: Sequence[Scored], asked: _Asked, limit: int) -> tuple[Hit, ...]:
    ranking = asked.ranking
    looked_at = found[:limit] if ranking.is_plain else found
    positions = _encode([one.position for one in looked_at]).decode()
    docs: dict[int, bytes] = dict(fetch(reader, FACTS, (positions,)))
    facts = {} if ranking.is_plain else {position: facts_of(doc) for position, doc in docs.items()}
    kept = adjust(looked_at, facts, ranking, now_us=asked.now_us)
    return tuple(Hit(min(one.score, 1.0), docs[one.position], one.explanation) for one in kept[:limit])
