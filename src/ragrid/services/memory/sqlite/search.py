"""Search over the full-text index and the vectors, beside each other."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import apsw

from ragrid.services.memory.changes import Scope
from ragrid.services.memory.metrics import SEARCH_SECONDS
from ragrid.services.memory.namespaces import Embedder
from ragrid.services.memory.protocol.memories import Filter, past_read
from ragrid.services.memory.protocol.search import Hit, QueryVector
from ragrid.services.memory.ranking.facts import facts_of
from ragrid.services.memory.ranking.fusion import PLAIN, Ranked, Ranking, Scored, adjust, fuse, pool_size
from ragrid.services.memory.sqlite.asked import Asked, seen
from ragrid.services.memory.sqlite.by_words import WordSearch
from ragrid.services.memory.sqlite.connections import Connections, broken
from ragrid.services.memory.sqlite.files import fetch
from ragrid.services.memory.sqlite.nearest import FIRST_LOOK, Sought, nearest
from ragrid.services.memory.sqlite.queries import PAST_DOCUMENTS, room_of
from ragrid.services.memory.sqlite.vector_cache import VectorCache
from ragrid.services.memory.sqlite.vectors import ROOM


class SqliteSearch(Connections):
    """See protocol/search.py."""

    vector_cache: VectorCache
    word_search: WordSearch

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
        asked = Asked(query, wanted, ranking, now_us, limit, pool)
        with SEARCH_SECONDS.labels(mode).time():
            words, meanings = await asyncio.gather(
                self._ranked(scope, partial(self._by_words, asked) if query else None),
                self._ranked(scope, None if vector is None else partial(self._by_meaning, asked, vector)),
            )
            found = fuse(words, meanings, pool=pool)

            def work(reader: apsw.Connection) -> tuple[Hit, ...]:
                number = self.number(reader, scope)
                return () if number is None else _hits(reader, number, found, asked)

            return await self.in_pool(work)

    async def embedder_of(self, scope: Scope) -> Embedder:
        """See Search. On the event loop, as every point read."""
        try:
            number = self.number(self.reader, scope)
            rows = [] if number is None else fetch(self.reader, ROOM, (number,))
        except apsw.Error as error:
            raise broken(error) from error
        return room_of(rows[0]).settings.embedder if rows else "grid"

    async def past_documents(self, scope: Scope, *, as_of_us: int, now_us: int, limit: int) -> tuple[bytes, ...]:
        """See Search."""
        rows = await self.rows(scope, lambda number: (PAST_DOCUMENTS, (as_of_us, number, now_us, limit)))
        return tuple(doc for version, doc in rows if past_read(version, doc, as_of_us))

    async def _ranked(self, scope: Scope, rank: Callable[[apsw.Connection, int], Ranked] | None) -> Ranked | None:
        """Run one half of a search, if it is asked for, on a thread of its own and in a snapshot of its own."""
        if rank is None:
            return None

        def work(reader: apsw.Connection) -> Ranked | None:
            number = self.number(reader, scope)
            if number is None:
                return None
            with reader:  # all statements see the same moment
                ranked = rank(reader, number)
            return ranked  # noqa: RET504 - for mypy, a `with` may swallow what is raised in it

        return await self.in_pool(work)

    def _by_words(self, asked: Asked, reader: apsw.Connection, number: int) -> Ranked:
        """Return the best by bm25."""
        return self.word_search.best(reader, number, asked)

    def _by_meaning(self, asked: Asked, vector: QueryVector, reader: apsw.Connection, number: int) -> Ranked:
        """Return the nearest, exactly."""
        sought = Sought(asked.wanted, asked.now_us, asked.pool, asked.ranking.include_superseded)
        return nearest(reader, self.vector_cache, number, vector, sought)


def _hits(reader: apsw.Connection, number: int, found: Sequence[Scored], asked: Asked) -> tuple[Hit, ...]:
    ranking = asked.ranking
    # One that has ended since it was ranked leaves its place to the next.
    looked_at = found[: FIRST_LOOK * asked.limit] if ranking.is_plain else found
    docs = dict(seen(reader, number, [one.position for one in looked_at], asked, columns="m.position, m.doc"))
    there = [one for one in looked_at if one.position in docs]
    facts = {} if ranking.is_plain else {position: facts_of(doc) for position, doc in docs.items()}
    kept = adjust(there, facts, ranking, now_us=asked.now_us)
    return tuple(Hit(min(one.score, 1.0), docs[one.position], one.explanation) for one in kept[: asked.limit])
