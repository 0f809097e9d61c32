"""Which words of a question to look for: a word that is in thousands of memories tells them apart hardly at all, and to
score all of them would take most of a search's time.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import apsw

from ragrid.services.memory.sqlite.files import fetch
from ragrid.services.memory.sqlite.index_words import scope_word
from ragrid.services.memory.sqlite.word_statements import COUNT, COUNT_HERE
from ragrid.services.memory.words import match_anywhere, match_expression

#: Memories that the words of one search may be in, all together; each of them costs 1.5 µs. In a namespace with fewer
#: memories, every word is looked for.
BUDGET = 3000
#: How long it is remembered how common a word is, seconds, and of how many words.
REMEMBERED_S = 300.0
REMEMBERED = 20_000


class Telling(NamedTuple):
    """The words to look for. `is_mostly_here`: half of the memories that hold them, or more, are in the namespace.

    Then the index is asked for the words alone, and what it names for its namespace: 2 µs each. The index by itself
    keeps to a namespace by walking through all of it, which takes 6 ms for every 100,000 memories.
    """

    words: tuple[str, ...]
    is_mostly_here: bool = False


class _Counts(NamedTuple):
    """Memories with a word, in the namespace and in the whole store; more than the budget are not counted further."""

    here: int
    everywhere: int


class CommonWords:
    """Knows how common words are, namespace by namespace; used from several reader threads."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget = budget
        self._known: OrderedDict[tuple[int, str], tuple[_Counts, float]] = OrderedDict()
        self._lock = threading.Lock()

    def telling(self, reader: apsw.Connection, namespace: int, words: Sequence[str]) -> Telling:
        """Return the rarest of `words` whose memories are within the budget, and always the rarest one."""
        rows = fetch(reader, "SELECT rows FROM namespace WHERE id = ?", (namespace,))
        if not rows or rows[0][0] <= self._budget:
            return Telling(tuple(words))
        counts = [self._counts(reader, namespace, word) for word in words]
        rarest_first = sorted(range(len(words)), key=lambda place: (counts[place].here, place))
        kept, room = {rarest_first[0]}, self._budget - counts[rarest_first[0]].here
        for place in rarest_first[1:]:
            room -= counts[place].here
            if room < 0:
                break
            kept.add(place)
        everywhere = sum(counts[place].everywhere for place in kept)
        is_mostly_here = everywhere <= 2 * sum(counts[place].here for place in kept) and all(
            counts[place].everywhere <= self._budget for place in kept
        )
        return Telling(tuple(word for place, word in enumerate(words) if place in kept), is_mostly_here)

    def _counts(self, reader: apsw.Connection, namespace: int, word: str) -> _Counts:
        key, now_s = (namespace, word), time.monotonic()
        known = self._known.get(key)
        if known is not None and known[1] > now_s:
            return known[0]
        most = self._budget + 1
        everywhere: int = fetch(reader, COUNT, (match_anywhere((word,)), most))[0][0]
        if everywhere < most:
            here: int = fetch(reader, COUNT_HERE, (match_anywhere((word,)), namespace))[0][0]
        else:
            here = fetch(reader, COUNT, (match_expression((word,), scope_word(namespace)), most))[0][0]
        counts = _Counts(here, everywhere)
        with self._lock:
            self._known[key] = (counts, now_s + REMEMBERED_S)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return counts
