"""The vectors of one namespace in a quarter of their room, so that one pass over them says which may be the nearest.

Each member is one byte. Beside a row stand its scale and how long a vector its rounding has left over, and from these
follows a bound that the true cosine cannot exceed: whoever compares those rows exactly whose bound reaches the best
that was found so far misses nothing. So a coarse matrix decides what to look at, and never what is found.
"""

from typing import NamedTuple

import numpy as np
import simsimd
from numpy.typing import NDArray

from ragrid.inference.embedder import FloatArray
from ragrid.services.memory.embedding.matrix import IntArray

Codes = NDArray[np.int8]

#: Rows that are compared in one go, 0.3 ms: in between, other threads have their turn.
BLOCK_ROWS = 16_384
#: Added to every bound, for what 32-bit arithmetic itself rounds away: some hundred times as much as it can be.
ROUNDING = np.float32(1e-4)
_HIGHEST_CODE = 127


class Rounded(NamedTuple):
    """Vectors as bytes: `codes * scales` is what is left of them, `leftovers` the lengths of what is not."""

    codes: Codes
    scales: FloatArray
    leftovers: FloatArray


class _Rows(NamedTuple):
    stamps: IntArray
    rounded: Rounded

    def put(self, first: int, stamps: IntArray, rounded: Rounded) -> None:
        last = first + len(stamps)
        self.stamps[first:last] = stamps
        self.rounded.codes[first:last] = rounded.codes
        self.rounded.scales[first:last] = rounded.scales
        self.rounded.leftovers[first:last] = rounded.leftovers


class CoarseMatrix:
    """Rounded rows with their stamps, in the order in which they came. One thread at a time may add.

    Rows are only ever added; one that no longer holds stays until the matrix is built anew.
    """

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.count = 0
        self.last_stamp = 0
        self._longest = 0.0
        self._rows = _room_for(0, dimension)

    @property
    def size_bytes(self) -> int:
        """Memory that is held, room to grow included."""
        return self._rows.stamps.nbytes + sum(one.nbytes for one in self._rows.rounded)

    def reserve(self, rows: int) -> None:
        """Make room for so many rows at once."""
        if rows > len(self._rows.stamps):
            self._grow(rows)

    def add(self, stamps: IntArray, vectors: FloatArray) -> None:
        """Add rows; stamps only grow."""
        if not len(stamps):
            return
        end = self.count + len(stamps)
        if end > len(self._rows.stamps):
            self._grow(max(end, len(self._rows.stamps) * 3 // 2, 64))
        rounded = round_off(vectors)
        self._longest = max(self._longest, float((np.linalg.norm(vectors, axis=1) + rounded.leftovers).max()))
        self._rows.put(self.count, stamps, rounded)
        self.last_stamp = int(stamps[-1])
        self.count = end

    def bounds(self, vector: FloatArray) -> tuple[IntArray, FloatArray]:
        """Return all stamps, and beside each what the cosine of its row with `vector` is at most. Safe beside `add`."""
        count = self.count
        rows = self._rows  # after the count: never fewer than that
        codes, scales, leftovers = rows.rounded
        asked = round_off(vector[np.newaxis])
        found = np.empty(count, np.float32)
        for first in range(0, count, BLOCK_ROWS):
            last = min(first + BLOCK_ROWS, count)
            found[first:last] = np.asarray(simsimd.dot(asked.codes[0], codes[first:last]))
        # With R for the rounded row, r for its leftover, V and v alike: (R + r)(V + v) = RV + Rv + r(V + v).
        found *= scales[:count]
        found *= asked.scales[0]
        found += leftovers[:count] * np.float32(np.linalg.norm(vector))
        found += np.float32(self._longest * float(asked.leftovers[0])) + ROUNDING
        return rows.stamps[:count], found

    def _grow(self, capacity: int) -> None:
        grown, before, count = _room_for(capacity, self.dimension), self._rows, self.count
        codes, scales, leftovers = before.rounded
        grown.put(0, before.stamps[:count], Rounded(codes[:count], scales[:count], leftovers[:count]))
        self._rows = grown  # at once: `bounds` under way goes on with the ones it has


def round_off(vectors: FloatArray) -> Rounded:
    """Return vectors as bytes; the largest member of a row becomes 127. Pure."""
    scales = np.abs(vectors).max(axis=1, initial=0) / np.float32(_HIGHEST_CODE)
    divisors = np.where(scales > 0, scales, np.float32(1))[:, np.newaxis]
    codes = np.rint(vectors / divisors).astype(np.int8)
    leftovers = np.linalg.norm(vectors - codes * scales[:, np.newaxis], axis=1)
    return Rounded(codes, scales.astype(np.float32), leftovers.astype(np.float32))


def row_bytes(dimension: int) -> int:
    """Return what one row takes: its members, its stamp, its scale and its leftover."""
    return dimension + 16


def _room_for(rows: int, dimension: int) -> _Rows:
    codes = np.empty((rows, dimension), np.int8)
    rounded = Rounded(codes, np.empty(rows, np.float32), np.empty(rows, np.float32))
    return _Rows(np.empty(rows, np.int64), rounded)
