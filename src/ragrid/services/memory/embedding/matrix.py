"""The vectors of one namespace side by side, so that one multiplication compares a question with all of them.

Rows are only ever added; a row that no longer holds stays until the matrix is built anew. Whoever uses a result asks
the store whether its stamp still holds. So a matrix is never wrong, at worst it is behind.
"""

import numpy as np
from numpy.typing import NDArray

from ragrid.inference.embedder import FloatArray

IntArray = NDArray[np.int64]

#: Among more scores than so many times those wanted, a sample says which to look at.
_SAMPLE_FACTOR = 16

#: How vectors lie in a store: half precision changes a cosine by less than 0.001.
STORED = np.dtype("<f2")


class Matrix:
    """Rows of float32 with their stamps, in the order in which they came. One thread at a time may add."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.count = 0
        self.last_stamp = 0
        self._rows: FloatArray = np.zeros((0, dimension), np.float32)
        self._stamps: IntArray = np.zeros(0, np.int64)

    @property
    def size_bytes(self) -> int:
        """Memory that is held, room to grow included."""
        return self._rows.nbytes + self._stamps.nbytes

    def reserve(self, rows: int) -> None:
        """Make room for so many rows at once."""
        if rows > len(self._rows):
            self._grow(rows)

    def add(self, stamps: IntArray, rows: FloatArray) -> None:
        """Add rows; stamps only grow."""
        end = self.count + len(stamps)
        if end > len(self._rows):
            self._grow(max(end, len(self._rows) * 3 // 2, 64))
        self._rows[self.count : end] = rows
        self._stamps[self.count : end] = stamps
        if len(stamps):
            self.last_stamp = int(stamps[-1])
        self.count = end

    def compare(self, vector: FloatArray) -> tuple[IntArray, FloatArray]:
        """Return all stamps, and beside each the cosine of its row with `vector`. Safe beside `add`."""
        count = self.count
        rows, stamps = self._rows, self._stamps
        return stamps[:count], rows[:count] @ vector

    def _grow(self, capacity: int) -> None:
        rows = np.empty((capacity, self.dimension), np.float32)
        stamps = np.empty(capacity, np.int64)
        rows[: self.count], stamps[: self.count] = self._rows[: self.count], self._stamps[: self.count]
        # Rows and stamps of a `compare` under way stay as they were. The stamps come last: they are the shorter ones.
        self._rows, self._stamps = rows, stamps


def best(scores: FloatArray, size: int) -> IntArray:
    """Return where the `size` highest scores stand, best first; later ones first among equals."""
    chosen = np.arange(len(scores))
    stride = len(scores) // (_SAMPLE_FACTOR * size) if size else 0
    if stride > 1:
        # The last of the best of some is no better than the last of the best of all: few are left to look at.
        some = scores[::stride]
        chosen = np.flatnonzero(scores >= np.partition(some, len(some) - size)[len(some) - size])
    if size < len(chosen):
        # Among equals, the later ones: a partition would take any.
        least = np.partition(scores[chosen], len(chosen) - size)[len(chosen) - size]
        above = chosen[scores[chosen] > least]
        equal = chosen[scores[chosen] == least]
        chosen = np.concatenate((above, equal[len(equal) - (size - len(above)) :]))
    order = np.lexsort((-chosen, -scores[chosen]))
    ordered: IntArray = chosen[order]
    return ordered


def pack(vector: FloatArray) -> bytes:
    """Return a vector as it is stored."""
    return vector.astype(STORED).tobytes()


def unpack(blobs: list[bytes], dimension: int) -> FloatArray:
    """Return stored vectors as rows."""
    packed = np.frombuffer(b"".join(blobs), STORED)
    rows: FloatArray = packed.reshape(len(blobs), dimension).astype(np.float32)
    return rows
