"""Which matrices of vectors stay in memory: those of the namespaces that were searched last, within a limit."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

#: A matrix is built anew once this many of its rows were found not to hold any more, and a quarter of all.
STALE_ROWS = 256


class _Sized(Protocol):
    @property
    def count(self) -> int: ...

    @property
    def size_bytes(self) -> int: ...


K = TypeVar("K", bound=Hashable)
M = TypeVar("M", bound=_Sized)
L = TypeVar("L")


class Entry(Generic[M, L]):
    """One matrix; whoever brings it up to date holds its lock."""

    def __init__(self, matrix: M, lock: L) -> None:
        self.matrix = matrix
        self.lock = lock
        self.stale = 0


class KeptMatrices(Generic[K, M, L]):
    """Matrices by key, the ones used longest ago dropped first; all together within `limit_bytes`.

    Used from several threads. The locks are the store's own kind, as it waits for its database while it holds one.
    """

    def __init__(self, limit_bytes: int, make_matrix: Callable[[int], M], make_lock: Callable[[], L]) -> None:
        self.limit_bytes = limit_bytes
        self._make_matrix = make_matrix
        self._make_lock = make_lock
        self._entries: OrderedDict[K, Entry[M, L]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def size_bytes(self) -> int:
        """Memory that the matrices hold."""
        return sum(entry.matrix.size_bytes for entry in list(self._entries.values()))

    def entry(self, key: K, dimension: int) -> Entry[M, L]:
        """Return the matrix of `key`, an empty one when there was none, and count it as used now."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                entry = self._entries[key] = Entry(self._make_matrix(dimension), self._make_lock())
            self._entries.move_to_end(key)
            return entry

    def make_room(self, kept: K) -> None:
        """Drop what was used longest ago until the rest is within the limit; never `kept`."""
        with self._lock:
            size_bytes = self.size_bytes
            for key in list(self._entries):
                if size_bytes <= self.limit_bytes or key == kept:
                    break
                size_bytes -= self._entries.pop(key).matrix.size_bytes

    def note_stale(self, key: K, rows: int) -> None:
        """Hear that so many rows of a comparison did not hold; a matrix with many of them is dropped."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return
            entry.stale += rows
            if entry.stale >= max(STALE_ROWS, entry.matrix.count // 4):
                del self._entries[key]
