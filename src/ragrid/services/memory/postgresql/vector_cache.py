"""The vectors of the namespaces that were searched last, in memory. Kept up to date by asking the server for what came
since: the one matrix of a replica may be behind, and is never wrong.
"""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import numpy as np

from ragrid.inference.embedder import FloatArray
from ragrid.services.memory.changes import Scope
from ragrid.services.memory.embedding.kept import KeptMatrices
from ragrid.services.memory.embedding.matrix import IntArray, Matrix, unpack
from ragrid.services.memory.postgresql.pool import server_answered
from ragrid.services.memory.postgresql.vectors import COUNT, NEW_VECTORS

#: Vectors that are read at once.
BLOCK = 4096
#: Comparisons of more members than this leave the event loop: 4 million take about 1 ms.
_ON_LOOP = 4_000_000

Key = tuple[Scope, int]


class VectorCache:
    """Matrices by namespace and model, the ones used longest ago dropped first; all together within `limit_bytes`.

    A namespace that does not fit alone is read from the server for each question: slower, and the same answer.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._kept: KeptMatrices[Key, Matrix, asyncio.Lock] = KeptMatrices(limit_bytes, Matrix, asyncio.Lock)

    @property
    def size_bytes(self) -> int:
        """Memory that the matrices hold."""
        return self._kept.size_bytes

    async def compare(
        self, connection: asyncpg.Connection, scope: Scope, model: int, vector: FloatArray
    ) -> tuple[IntArray, FloatArray]:
        """Return the stamps of all vectors of a namespace that `connection` sees, and their cosines with `vector`.

        There may be more stamps than that: older ones that no longer hold, newer ones that do not hold for it.
        """
        key = (scope, model)
        entry = self._kept.entry(key, len(vector))
        async with entry.lock:
            if entry.matrix.count == 0:
                rows: int = await connection.fetchval(COUNT, scope.tenant, scope.namespace, model)
                if rows * len(vector) * vector.itemsize > self._kept.limit_bytes:
                    return await _compare_blocks(connection, key, vector)
                entry.matrix.reserve(rows)
            async for stamps, block in _blocks(connection, key, entry.matrix.last_stamp, len(vector)):
                entry.matrix.add(stamps, block)
        self._kept.make_room(key)
        if entry.matrix.count * len(vector) <= _ON_LOOP:
            return entry.matrix.compare(vector)
        return await asyncio.to_thread(entry.matrix.compare, vector)

    def note_stale(self, scope: Scope, model: int, rows: int) -> None:
        """Hear that so many rows of a comparison did not hold; a matrix with many of them is built anew."""
        self._kept.note_stale((scope, model), rows)


async def _compare_blocks(connection: asyncpg.Connection, key: Key, vector: FloatArray) -> tuple[IntArray, FloatArray]:
    parts = [(stamps, block @ vector) async for stamps, block in _blocks(connection, key, 0, len(vector))]
    return np.concatenate([stamps for stamps, _ in parts]), np.concatenate([scores for _, scores in parts])


async def _blocks(
    connection: asyncpg.Connection, key: Key, after: int, dimension: int
) -> AsyncIterator[tuple[IntArray, FloatArray]]:
    scope, model = key
    while True:
        rows = await connection.fetch(NEW_VECTORS, scope.tenant, scope.namespace, model, after, BLOCK)
        server_answered()
        if rows:
            stamps = np.array([stamp for stamp, _ in rows], np.int64)
            after = int(stamps[-1])
            yield stamps, unpack([blob for _, blob in rows], dimension)
        if len(rows) < BLOCK:
            return
