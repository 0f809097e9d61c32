"""Lexical search by bm25, counted anew for every question."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from ragrid.services.memory.changes import Scope
from ragrid.services.memory.inmemory.state import Row, State
from ragrid.services.memory.model import searchable
from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.protocol.search import Hit, hits_of
from ragrid.services.memory.words import folded

#: The constants of bm25 that FTS5 uses too: https://www.sqlite.org/fts5.html#the_bm25_function
_K1 = 1.2
_B = 0.75


class InMemorySearch(State):
    """See protocol/search.py."""

    async def search(
        self, scope: Scope, query: tuple[str, ...], wanted: Filter, *, now_us: int, limit: int
    ) -> tuple[Hit, ...]:
        """See Search."""
        documents = {row.stored.position: _words(row) for row in self.matching(scope, Filter(), now_us)}
        words = [word for one in query for word in folded(one)]
        hits = [
            (score, row.stored)
            for row in self.matching(scope, wanted, now_us)
            if (score := _bm25(words, documents[row.stored.position], documents.values())) > 0
        ]
        hits.sort(key=lambda hit: (-hit[0], -hit[1].position))
        return hits_of([(score, stored.doc) for score, stored in hits[:limit]])


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
