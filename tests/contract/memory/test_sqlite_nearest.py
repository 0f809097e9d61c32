"""What bounds leave out is never among the nearest: the store's answer is that of comparing with every vector."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from ragrid.inference.embedder import FloatArray, normalise
from ragrid.services.memory.changes import Create, Delete, Scope
from ragrid.services.memory.embedding.coarse import row_bytes
from ragrid.services.memory.embedding.matrix import STORED
from ragrid.services.memory.model import MemoryInput
from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.protocol.search import QueryVector
from ragrid.services.memory.sqlite.store import SqliteStore
from ragrid.services.memory.sqlite.vector_cache import VectorCache
from ragrid.services.memory.vectors import GivenVector

ACME = Scope("acme", "default")
NOW = 1_800_000_000_000_000
MODEL = "given"
DIMENSION = 64
COUNT = 700
#: A namespace of vectors never fits into this.
NO_ROOM_BYTES = 1000
GENERATOR = np.random.default_rng(11)


def vectors_of(kind: str) -> FloatArray:
    """Random ones; ones that lie closer together than rounding tells apart; and ones of which most are the same."""
    rows = GENERATOR.standard_normal((COUNT, DIMENSION))
    if kind == "close":
        rows = rows[:1] + rows * 0.01
    if kind == "same":
        rows[50:] = rows[0]
    return normalise(rows.astype(np.float32))


def nearest(rows: FloatArray, vector: FloatArray, allowed: Sequence[int], limit: int) -> list[str]:
    stored = rows.astype(STORED).astype(np.float64)
    cosines = (stored @ vector.astype(np.float64)).astype(np.float32)
    return [f"k{n}" for n in sorted(allowed, key=lambda n: (-cosines[n], -n)) if cosines[n] > 0][:limit]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    one = SqliteStore.open(tmp_path)
    yield one
    await one.close()


async def fill(store: SqliteStore, rows: FloatArray) -> None:
    changes = []
    for number, row in enumerate(rows):
        given = GivenVector(model=MODEL, values=tuple(row.astype(STORED).astype(float).tolist()))
        memory = MemoryInput(content="", user_id="few" if number % 20 == 3 else "many", embedding=given)
        changes.append(Create(ACME, f"k{number}", "alice", NOW, memory))
    await asyncio.gather(*(store.change(one) for one in changes))


async def found(store: SqliteStore, vector: FloatArray, limit: int, wanted: Filter | None = None) -> list[str]:
    asked = QueryVector(MODEL, vector)
    hits = await store.search(ACME, (), wanted or Filter(), now_us=NOW, limit=limit, vector=asked)
    return [msgspec.json.decode(hit.doc)["id"] for hit in hits]


@pytest.mark.parametrize("kind", ["random", "close", "same"])
async def test_the_nearest_are_those_of_a_comparison_with_all(store: SqliteStore, kind: str) -> None:
    rows = vectors_of(kind)
    await fill(store, rows)
    few = [n for n in range(COUNT) if n % 20 == 3]
    questions = normalise(np.concatenate((GENERATOR.standard_normal((3, DIMENSION)), rows[:1])).astype(np.float32))
    for cache in (store.vector_cache, VectorCache(NO_ROOM_BYTES)):
        store.vector_cache = cache
        for vector in questions:
            assert await found(store, vector, 100) == nearest(rows, vector, range(COUNT), 100)
            assert await found(store, vector, 10, Filter(user_id="few")) == nearest(rows, vector, few, 10)


async def test_the_nearest_are_found_behind_all_that_was_deleted(store: SqliteStore) -> None:
    rows = vectors_of("close")
    await fill(store, rows)
    gone = nearest(rows, rows[0], range(COUNT), 300)
    assert await found(store, rows[0], 100) == gone[:100]
    await asyncio.gather(*(store.change(Delete(ACME, one, "alice", NOW)) for one in gone))
    left = [n for n in range(COUNT) if f"k{n}" not in gone]
    for _ in range(2):  # the second time without the rows of those that are gone
        assert await found(store, rows[0], 100) == nearest(rows, rows[0], left, 100)
    assert store.vector_cache.size_bytes < COUNT * row_bytes(DIMENSION)
