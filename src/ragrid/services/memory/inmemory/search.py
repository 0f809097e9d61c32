"""Search by bm25 and by cosine, counted anew for every question."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from ragrid.services.memory.changes import Scope, is_expired
from ragrid.services.memory.inmemory.state import Row, State
from ragrid.services.memory.model import searchable
from ragrid.services.memory.namespaces import Embedder
from ragrid.services.memory.protocol.memories import Filter, past_read
from ragrid.services.memory.protocol.search import Hit, QueryVector
from ragrid.services.memory.ranking.facts import facts_of
from ragrid.services.memory.ranking.fusion import PLAIN, Ranked, Ranking, adjust, fuse, pool_size
from ragrid.services.memory.words import folded

#: The constants of bm25 that FTS5 uses too: https://www.sqlite.org/fts5.html#the_bm25_function
_K1 = 1.2
_B = 0.75


class InMemorySearch(State):
    """See protocol/search.py."""

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
        rows = {
            row.stored.position: row
            for row in self.matching(scope, wanted, now_us)
            if ranking.include_superseded or row.stored.superseded_by is None
        }
        pool = pool_size(limit)
        words = self._by_words(scope, query, rows, now_us)[:pool] if query else None
        meanings = None if vector is None else self._by_meaning(scope, vector, rows)[:pool]
        facts = {position: facts_of(row.stored.doc) for position, row in rows.items()}
        kept = adjust(fuse(words, meanings, pool=pool), facts, ranking, now_us=now_us)[:limit]
        return tuple(Hit(min(one.score, 1.0), rows[one.position].stored.doc, one.explanation) for one in kept)

    async def embedder_of(self, scope: Scope) -> Embedder:
        """See Search."""
        return self.room(scope).settings.embedder

    async def past_documents(self, scope: Scope, *, as_of_us: int, now_us: int, limit: int) -> tuple[bytes, ...]:
        """See Search."""
        found: list[bytes] = []
        for key, row in self.rows.items():
            if key[0] != scope or row.stored.is_erased or is_expired(row.stored, now_us):
                continue
            last = next((event for event in reversed(self.events[key]) if event.at_us <= as_of_us), None)
            if last is not None and last.doc is not None and past_read(last.version, last.doc, as_of_us):
                found.append(last.doc)
        return tuple(found[:limit])

    def _by_words(self, scope: Scope, query: tuple[str, ...], rows: Mapping[int, Row], now_us: int) -> Ranked:
        documents = {row.stored.position: _words(row) for row in self.matching(scope, Filter(), now_us)}
        words = [word for one in query for word in folded(one)]
        scores = ((position, _bm25(words, documents[position], documents.values())) for position in rows)
        return sorted((one for one in scores if one[1] > 0), key=lambda one: (-one[1], -one[0]))

    def _by_meaning(self, scope: Scope, vector: QueryVector, rows: Mapping[int, Row]) -> Ranked:
        table = self.embeddings.asked(self.room(scope), vector)
        vectors = {} if table is None else self.embeddings.vectors
        near = (
            (position, float(found.values @ vector.values))
            for position in rows
            if (found := vectors.get((position, table or ""))) and found.values.shape == vector.values.shape
        )
        return sorted((one for one in near if one[1] > 0), key=lambda one: (-one[1], -one[0]))


def _words(row: Row) -> Counter[str]:
    return Counter(word for text in searchable(row.memory) for word in folded(text)) if row.memory else Counter()


def _bm25(words: Sequence[str], document: Counter[str], documents: Iterable[Counter[str]]) -> float:
    every = list(documents)
    average = sum(one.total() for one in every) / len(every) or 1.0
    score = 0.0
    for word in words:
        holding = sum(1 for one in every if word in one)
        rarity = max(math.log((len(every) - holding + 0.5) / (holding + 0.5)), 1e-6)
        frequency = document[word]
        score += rarity * frequency * (_K1 + 1) / (frequency + _K1 * (1 - _B + _B * document.total() / average))
    return score
