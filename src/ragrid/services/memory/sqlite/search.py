"""Search over the full-text index and the vectors, beside each other."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import apsw
import msgspec

from ragrid.services.memory.changes import Scope
from ragrid.services.memory.metrics import SEARCH_SECONDS
from ragrid.services.memory.namespaces import Embedder
from ragrid.services.memory.protocol.memories import Filter, past_read
from ragrid.services.memory.protocol.search import Hit, QueryVector
from ragrid.services.memory.ranking.documents import best_among
from ragrid.services.memory.ranking.facts import facts_of
from ragrid.services.memory.ranking.fusion import PLAIN, Ranked, Ranking, Scored, adjust, fuse, pool_size
from ragrid.services.memory.sqlite.common_words import CommonWords, Telling
from ragrid.services.memory.sqlite.connections import Connections, broken
from ragrid.services.memory.sqlite.files import fetch
from ragrid.services.memory.sqlite.index_words import scope_word
from ragrid.services.memory.sqlite.nearest import FIRST_LOOK, Sought, nearest
from ragrid.services.memory.sqlite.queries import (
    PAST_DOCUMENTS,
    list_statement,
    room_of,
    seen_statement,
)
from ragrid.services.memory.sqlite.vector_cache import VectorCache
from ragrid.services.memory.sqlite.vectors import ROOM
from ragrid.services.memory.sqlite.word_statements import index_statement, words_statement
from ragrid.services.memory.words import match_anywhere, match_expression

#: Where a filter keeps no more than so many memories, an index of just them is made for the question, 20 µs each; the
#: store's index would have to score every memory with one of the words first, of which the filter keeps next to none.
FEW = 2000


class SqliteSearch(Connections):
    """See protocol/search.py."""

    vector_cache: VectorCache
    common_words: CommonWords

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
        asked = _Asked(query, wanted, ranking, now_us, limit, pool)
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

    def _by_words(self, asked: "_Asked", reader: apsw.Connection, number: int) -> Ranked:
        """Return the best by bm25. Common words are left out where rarer ones find enough."""
        telling = self.common_words.telling(reader, number, asked.query)

        def is_enough(found: Ranked) -> bool:
            return len(found) >= asked.limit or len(telling.words) == len(asked.query)

        expression = _expression(number, telling)
        found = _best_of_index(reader, number, expression, asked)
        if found is None and telling.is_mostly_here:
            found = _best_by_words(reader, number, expression, asked)
        if found is not None and is_enough(found):
            return found
        few = _few(reader, number, asked)
        if few is not None:
            return best_among(few, asked.query, limit=asked.pool)
        if found is None:
            found = _best_by_words(reader, number, expression, asked)
        if is_enough(found):
            return found
        return _best_by_words(reader, number, match_expression(asked.query, scope_word(number)), asked)

    def _by_meaning(self, asked: "_Asked", vector: QueryVector, reader: apsw.Connection, number: int) -> Ranked:
        """Return the nearest, exactly."""
        sought = Sought(asked.wanted, asked.now_us, asked.pool, asked.ranking.include_superseded)
        return nearest(reader, self.vector_cache, number, vector, sought)


class _Asked(msgspec.Struct, frozen=True):
    query: tuple[str, ...]
    wanted: Filter
    ranking: Ranking
    now_us: int
    limit: int
    pool: int


def _expression(number: int, telling: Telling) -> str:
    if telling.is_mostly_here:
        return match_anywhere(telling.words)
    return match_expression(telling.words, scope_word(number))


def _best_of_index(reader: apsw.Connection, number: int, expression: str, asked: _Asked) -> Ranked | None:
    """Return the best that may be seen of what the index alone thinks best; None when that is not enough to tell."""
    size = FIRST_LOOK * asked.pool
    best_of_index = fetch(reader, *index_statement(expression, limit=size))
    seen = dict(_seen(reader, number, [position for position, _ in best_of_index], asked, columns="m.position, 1"))
    kept = [(position, score) for position, score in best_of_index if position in seen]
    is_enough = len(kept) >= asked.pool or len(best_of_index) < size
    return kept[: asked.pool] if is_enough else None


def _few(reader: apsw.Connection, number: int, asked: _Asked) -> Sequence[tuple[int, bytes]] | None:
    """Return all that the filter lets through, when that is little."""
    if asked.wanted == Filter():
        return None
    rows = fetch(reader, *list_statement(number, asked.wanted, now_us=asked.now_us, limit=FEW + 1, before=None))
    if len(rows) > FEW:
        return None
    if asked.ranking.include_superseded:
        return rows
    seen = dict(_seen(reader, number, [position for position, _ in rows], asked, columns="m.position, 1"))
    return [row for row in rows if row[0] in seen]


def _best_by_words(reader: apsw.Connection, number: int, expression: str, asked: _Asked) -> Ranked:
    """Return the best of all that `expression` finds and that may be seen."""
    statement = words_statement(
        number,
        expression,
        asked.wanted,
        now_us=asked.now_us,
        limit=asked.pool,
        include_superseded=asked.ranking.include_superseded,
    )
    return [(position, score) for position, score in fetch(reader, *statement)]


def _hits(reader: apsw.Connection, number: int, found: Sequence[Scored], asked: _Asked) -> tuple[Hit, ...]:
    ranking = asked.ranking
    # One that has ended since it was ranked leaves its place to the next.
    looked_at = found[: FIRST_LOOK * asked.limit] if ranking.is_plain else found
    docs = dict(_seen(reader, number, [one.position for one in looked_at], asked, columns="m.position, m.doc"))
    there = [one for one in looked_at if one.position in docs]
    facts = {} if ranking.is_plain else {position: facts_of(doc) for position, doc in docs.items()}
    kept = adjust(there, facts, ranking, now_us=asked.now_us)
    return tuple(Hit(min(one.score, 1.0), docs[one.position], one.explanation) for one in kept[: asked.limit])


def _seen(
    reader: apsw.Connection, number: int, positions: list[int], asked: _Asked, *, columns: str
) -> Sequence[tuple[int, bytes]]:
    statement = seen_statement(
        number,
        positions,
        asked.wanted,
        columns=columns,
        now_us=asked.now_us,
        include_superseded=asked.ranking.include_superseded,
    )
    return fetch(reader, *statement)
