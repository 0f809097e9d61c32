"""How many memories of the store hold a word, and how long memories are: what bm25 is made of."""

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import apsw
import msgspec

from ragrid.services.memory.sqlite.files import fetch
from ragrid.services.memory.sqlite.index_words import scope_word
from ragrid.services.memory.words import match_anywhere

#: Up to so many memories with a word are counted, 1 ms; beyond, it is told from a sample how many there are.
COUNTED = 20_000
#: The sample: stretches of the store, evenly spread, and the positions in each.
_STRETCHES = 32
_LENGTH = 512
#: How long it is remembered how common a word is, seconds; of how many words; and only when counting took some time.
REMEMBERED_S = 300.0
REMEMBERED = 20_000
_WORTH_IT = 1000

_SIZE = "SELECT size_of_index(memory_fts) FROM memory_fts WHERE memory_fts MATCH ? LIMIT 1"
_COUNT = "SELECT count(*) FROM (SELECT 1 FROM memory_fts WHERE memory_fts MATCH ? LIMIT ?)"
_SAMPLE = """
SELECT count(*) FROM json_each(?) AS s CROSS JOIN memory_fts AS f
WHERE f.memory_fts MATCH ? AND f.rowid BETWEEN s.value AND s.value + ?
"""
_LAST = "SELECT max(position) FROM memory"


class IndexSize(NamedTuple):
    """How many memories the full-text index holds, of all namespaces, and how many tokens one has in the mean."""

    rows: int
    mean: float


class WordCounts:
    """Counts words, store-wide as FTS5's bm25 does; used from several reader threads."""

    def __init__(self, counted: int = COUNTED) -> None:
        self._counted = counted
        self._known: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._lock = threading.Lock()

    def size(self, reader: apsw.Connection, namespace: int) -> IndexSize:
        """Return the size of the index as `reader` sees it; nothing when the namespace has nothing in it."""
        reader.register_fts5_function("size_of_index", _size)
        rows = fetch(reader, _SIZE, (f'scope : "{scope_word(namespace)}"',))
        if not rows:
            return IndexSize(0, 1.0)
        count, tokens = map(int, rows[0][0].split())
        return IndexSize(count, tokens / max(count, 1))

    def holding(self, reader: apsw.Connection, words: Sequence[str]) -> list[int]:
        """Return how many memories hold each of `words`: exactly when they are few, and never 0."""
        return [max(self._holding(reader, word), 1) for word in words]

    def _holding(self, reader: apsw.Connection, word: str) -> int:
        now_s = time.monotonic()
        known = self._known.get(word)
        if known is not None and known[1] > now_s:
            return known[0]
        expression = match_anywhere((word,))
        found: int = fetch(reader, _COUNT, (expression, self._counted + 1))[0][0]
        if found > self._counted:
            found = max(found, self._sampled(reader, expression))
        if found >= _WORTH_IT:
            with self._lock:
                self._known[word] = (found, now_s + REMEMBERED_S)
                while len(self._known) > REMEMBERED:
                    self._known.popitem(last=False)
        return found

    def _sampled(self, reader: apsw.Connection, expression: str) -> int:
        last: int = fetch(reader, _LAST)[0][0]
        step = max(last // _STRETCHES, _LENGTH)
        starts = range(1, last + 1, step)
        found: int = fetch(reader, _SAMPLE, (msgspec.json.encode(list(starts)).decode(), expression, _LENGTH - 1))[0][0]
        return found * last // (len(starts) * _LENGTH)


def _size(api: apsw.FTS5ExtensionApi, /, *_: object) -> str:
    return f"{api.row_count} {api.column_total_size(-1)}"
