"""Which words of a question to look for: a word that is in thousands of memories tells them apart hardly at all, and to
score all of them would take most of a search's time.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence

import apsw

from ragrid.services.memory.sqlite.files import fetch
from ragrid.services.memory.sqlite.transaction import scope_word
from ragrid.services.memory.words import match_expression

#: Memories that the words of one search may be in, all together; each of them costs 1.5 µs. In a namespace with fewer
#: memories, every word is looked for.
BUDGET = 3000
#: How long it is remembered how common a word is, seconds, and of how many words.
REMEMBERED_S = 300.0
REMEMBERED = 20_000

_COUNT = "SELECT count(*) FROM (SELECT 1 FROM memory_fts WHERE memory_fts MATCH ? LIMIT ?)"


class CommonWords:
    """Knows how common words are, namespace by namespace; used from several reader threads."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget = budget
        self._known: OrderedDict[tuple[int, str], tuple[int, float]] = OrderedDict()
        self._lock = threading.Lock()

    def telling(self, reader: apsw.Connection, namespace: int, words: Sequence[str]) -> tuple[str, ...]:
        """Return the rarest of `words` whose memories are within the budget, and always the rarest one."""
        rows = fetch(reader, "SELECT rows FROM namespace WHERE id = ?", (namespace,))
        if len(words) < 2 or not rows or rows[0][0] <= self._budget:
            return tuple(words)
        counted = sorted((self._count(reader, namespace, word), place) for place, word in enumerate(words))
        kept, room = {counted[0][1]}, self._budget - counted[0][0]
        for count, place in counted[1:]:
            room -= count
            if room < 0:
                break
            kept.add(place)
        return tuple(word for place, word in enumerate(words) if place in kept)

    def _count(self, reader: apsw.Connection, namespace: int, word: str) -> int:
        """Return how many memories of a namespace hold a word; more than the budget are not counted further."""
        key, now_s = (namespace, word), time.monotonic()
        known = self._known.get(key)
        if known is not None and known[1] > now_s:
            return known[0]
        expression = match_expression((word,), scope_word(namespace))
        count: int = fetch(reader, _COUNT, (expression, self._budget + 1))[0][0]
        with self._lock:
            self._known[key] = (count, now_s + REMEMBERED_S)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return count
