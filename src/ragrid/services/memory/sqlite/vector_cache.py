"""The vectors of the namespaces that were searched last, rounded, in memory. Kept up to date by asking the store for
what came since; used from several reader threads.
"""

import threading
from collections.abc import Iterator

import apsw
import numpy as np

from ragrid.inference.embedder import FloatArray
from ragrid.services.memory.embedding.coarse import ROUNDING, CoarseMatrix, row_bytes
from ragrid.services.memory.embedding.kept import KeptMatrices
from ragrid.services.memory.embedding.matrix import IntArray, unpack
from ragrid.services.memory.sqlite.files import fetch
from ragrid.services.memory.sqlite.vectors import COUNT, NEW_VECTORS

#: Vectors that are read at once.
BLOCK = 4096

Key = tuple[int, int]


class VectorCache:
    """Matrices by namespace and model, the ones used longest ago dropped first; all together within `limit_bytes`.

    A namespace that does not fit alone is read from the store for each question: slower, and the same answer.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._kept: KeptMatrices[Key, CoarseMatrix, threading.Lock] = KeptMatrices(
            limit_bytes, CoarseMatrix, threading.Lock
        )

    @property
    def size_bytes(self) -> int:
        """Memory that the matrices hold."""
        return self._kept.size_bytes

    def bounds(
        self, reader: apsw.Connection, namespace: int, model: int, vector: FloatArray
    ) -> tuple[IntArray, FloatArray]:
        """Return the stamps of all vectors of a namespace that `reader` sees, and their cosines with `vector` at most.

        Stamps are ascending. There may be more than that: older ones that no longer hold, newer ones that do not hold
        for `reader`.
        """
        key = (namespace, model)
        entry = self._kept.entry(key, len(vector))
        with entry.lock:
            if entry.matrix.count == 0:
                rows: int = fetch(reader, COUNT, (model, namespace))[0][0]
                if rows * row_bytes(len(vector)) > self._kept.limit_bytes:
                    return _bounds_of_blocks(reader, key, vector)
                entry.matrix.reserve(rows)
            for stamps, block in _blocks(reader, key, entry.matrix.last_stamp, len(vector)):
                entry.matrix.add(stamps, block)
        self._kept.make_room(key)
        return entry.matrix.bounds(vector)

    def note_stale(self, namespace: int, model: int, rows: int) -> None:
        """Hear that so many rows of a comparison did not hold; a matrix with many of them is built anew."""
        self._kept.note_stale((namespace, model), rows)


def _bounds_of_blocks(reader: apsw.Connection, key: Key, vector: FloatArray) -> tuple[IntArray, FloatArray]:
    parts = [(stamps, block @ vector) for stamps, block in _blocks(reader, key, 0, len(vector))]
    return np.concatenate([stamps for stamps, _ in parts]), np.concatenate([found for _, found in parts]) + ROUNDING


def _blocks(reader: apsw.Connection, key: Key, after: int, dimension: int) -> Iterator[tuple[IntArray, FloatArray]]:
    namespace, model = key
    while True:
        rows = fetch(reader, NEW_VECTORS, (model, namespace, after, BLOCK))
        if rows:
            stamps = np.array([stamp for stamp, _ in rows], np.int64)
            after = int(stamps[-1])
            yield stamps, unpack([blob for _, blob in rows], dimension)
        if len(rows) < BLOCK:
            return
