"""PostgreSQL's index of vectors (pgvector): what searches find by it, what it never shows, and doing without."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import asyncpg
import numpy as np
import pytest

from ragrid.inference.embedder import FloatArray
from ragrid.services.memory.changes import Create, Delete, Replace, Scope
from ragrid.services.memory.embedding.sources import brought_number
from ragrid.services.memory.filters.model import Term
from ragrid.services.memory.metrics import NEAREST_SEARCHES
from ragrid.services.memory.model import MemoryInput
from ragrid.services.memory.namespaces import NamespaceSettings, PutNamespace
from ragrid.services.memory.postgresql import nearest_search
from ragrid.services.memory.postgresql.nearest_search import TAIL_LIMIT
from ragrid.services.memory.postgresql.nearest_statements import Question, index_statement
from ragrid.services.memory.postgresql.store import PostgresStore
from ragrid.services.memory.protocol.embeddings import Embedded
from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.protocol.search import QueryVector
from ragrid.services.memory.vectors import GivenVector
from support.memory_stores import ROLE, pgvector_database, pgvector_database_made, pgvector_database_of_session
from support.postgresql import Cluster

__all__ = ["pgvector_database", "pgvector_database_of_session"]

ACME, EVIL = Scope("acme", "default"), Scope("evil", "default")
EVERYTHING = Filter()
NOW = 1_800_000_000_000_000
MODEL = "some-model"
DIMENSION = 16

Open = Callable[..., Awaitable[PostgresStore]]


def direction(number: int) -> FloatArray:
    """Return a vector of length 1, always the same for a number."""
    row = np.random.default_rng(number).standard_normal(DIMENSION)
    return np.asarray(row / np.linalg.norm(row), np.float32)


def given(number: int) -> MemoryInput:
    """Return the memory of a number; every second is alice's, every hundredth an episode."""
    return MemoryInput(
        content=f"note {number}",
        embedding=GivenVector(model=MODEL, values=tuple(direction(number).tolist())),
        user_id="alice" if number % 2 == 0 else None,
        type="episodic" if number % 100 == 0 else "semantic",
    )


async def fill(store: PostgresStore, count: int, *, first: int = 0) -> None:
    """Write memories `k0`, `k1`, …, one for each number."""
    numbers = range(first, first + count)
    changes = [Create(ACME, f"k{number}", "alice", NOW, given(number)) for number in numbers]
    await store.change_all(changes, is_atomic=True)


async def nearest(store: PostgresStore, number: int, wanted: Filter = EVERYTHING, scope: Scope = ACME) -> list[str]:
    """Return the ids of the ten memories nearest to a number's vector."""
    vector = QueryVector(MODEL, direction(number))
    hits = await store.search(scope, (), wanted, now_us=NOW, limit=10, vector=vector)
    return [hit.doc.split(b'"', 4)[3].decode() for hit in hits]


def ways() -> dict[str, float]:
    """Return how many searches were answered in which way."""
    return {way: NEAREST_SEARCHES.labels(way)._value.get() for way in ("index", "few", "all")}


async def answered(store: PostgresStore, number: int, wanted: Filter = EVERYTHING) -> tuple[list[str], str]:
    """Return what is found, and in which way."""
    before = ways()
    found = await nearest(store, number, wanted)
    return found, next(way for way, count in ways().items() if count > before[way])


@pytest.fixture
async def open_store(pgvector_database: str) -> AsyncIterator[Open]:
    opened: list[PostgresStore] = []

    async def make(*, index_from_rows: int | None = 1) -> PostgresStore:
        opened.append(await PostgresStore.open(pgvector_database, index_from_rows=index_from_rows))
        return opened[-1]

    yield make
    for one in opened:
        await one.close()


@pytest.fixture
async def store(open_store: Open) -> PostgresStore:
    return await open_store()


@pytest.fixture
def new_database(pgvector_cluster: Cluster, pgvector_database_of_session: str) -> Iterator[str]:
    """The name of a database with pgvector that no other test uses."""
    name = pgvector_database_made(pgvector_cluster)
    yield name
    pgvector_cluster.drop_database(name)


# What it finds


@pytest.mark.parametrize(
    "wanted", [EVERYTHING, Filter(user_id="alice"), Filter(where=Term(("content",), "text", "prefix", "note"))]
)
async def test_it_finds_what_comparing_with_all_finds(
    open_store: Open, wanted: Filter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a filter, too: the index goes on until enough met it."""
    monkeypatch.setattr(nearest_search, "FEW", 20)
    indexed, exact = await open_store(), await open_store(index_from_rows=None)
    await fill(indexed, 600)
    await indexed.nearest.bring_forward()
    in_all = found_of_it = 0
    for number in range(20):
        found, way = await answered(indexed, 10_000 + number, wanted)
        assert way == "index"
        there = await nearest(exact, 10_000 + number, wanted)
        in_all, found_of_it = in_all + len(there), found_of_it + len(set(found) & set(there))
    assert in_all == 200
    assert found_of_it >= 190


@pytest.mark.parametrize("wanted", [Filter(type="episodic"), Filter(user_id="alice"), Filter(user_id="nobody")])
async def test_a_filter_that_keeps_little_is_answered_exactly(open_store: Open, wanted: Filter) -> None:
    indexed, exact = await open_store(), await open_store(index_from_rows=None)
    await fill(indexed, 300)
    await indexed.nearest.bring_forward()
    for number in range(5):
        there = await nearest(exact, 10_000 + number, wanted)
        assert await answered(indexed, 10_000 + number, wanted) == (there, "few")


async def test_the_server_takes_the_order_from_the_index(store: PostgresStore, pgvector_database: str) -> None:
    """However small the table: a plan that sorts would compare with all."""
    await fill(store, 50)
    await store.nearest.bring_forward()
    everything = (direction(1), Filter(user_id="alice"), NOW)
    async with store.pool.reader("acme") as connection, connection.transaction():
        asked = Question(ACME, brought_number(DIMENSION), *everything, include_superseded=False, limit=100)
        sql, parameters = index_statement(asked)
        await connection.execute("SET LOCAL enable_sort = off")
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {sql}", *parameters))
    assert f"Index Scan using memory_nearest_of_brought_{DIMENSION} on memory_nearest" in plan
    assert "Sort" not in plan


async def test_what_was_just_written_is_found_before_it_is_in_the_index(store: PostgresStore) -> None:
    await fill(store, 200)
    await store.nearest.bring_forward()
    async with store.nearest._turn:
        await store.change(Create(ACME, "new", "alice", NOW, given(77_777)))
        await store.change(Replace(ACME, "k5", "alice", NOW, given(88_888)))
        await store.change(Delete(ACME, "k6", "alice", NOW))
        assert (await nearest(store, 77_777))[0] == "new"
        assert (await nearest(store, 88_888))[0] == "k5"
        assert "k5" not in (await nearest(store, 5))[:1]
        assert "k6" not in await nearest(store, 6)


async def test_an_index_far_behind_is_not_asked(store: PostgresStore) -> None:
    await fill(store, 10)
    await store.nearest.bring_forward()
    async with store.nearest._turn:
        await fill(store, TAIL_LIMIT + 1, first=10)
        found, way = await answered(store, TAIL_LIMIT)
    assert (found[0], way) == (f"k{TAIL_LIMIT}", "all")


async def test_a_small_namespace_is_compared_whole(open_store: Open) -> None:
    store = await open_store(index_from_rows=100)
    await fill(store, 99)
    assert await store.nearest.bring_forward() == 0
    assert await answered(store, 7) == (await nearest(store, 7), "all")


async def test_replicas_together_index_each_vector_once(open_store: Open, pgvector_database: str) -> None:
    stores = [await open_store() for _ in range(3)]
    await fill(stores[0], 400)
    await asyncio.gather(*(one.nearest.bring_forward() for one in stores))
    await stores[0].nearest.bring_forward()
    assert await _indexed(pgvector_database) == 400


# What it never shows


async def test_it_shows_each_tenant_its_own(store: PostgresStore, pgvector_database: str) -> None:
    for scope in (ACME, EVIL):
        await store.change(Create(scope, f"of-{scope.tenant}", "alice", NOW, given(1)))
    await store.nearest.bring_forward()
    assert await nearest(store, 1) == ["of-acme"]
    assert await nearest(store, 1, scope=EVIL) == ["of-evil"]
    connection = await asyncpg.connect(pgvector_database, server_settings={"search_path": "ragrid_memory, public"})
    try:
        assert await connection.fetch("SELECT * FROM memory_nearest") == []
        await connection.execute("SELECT set_config('ragrid.tenant', 'acme', false)")
        assert [row[0] for row in await connection.fetch("SELECT tenant FROM memory_nearest")] == ["acme"]
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await connection.execute("UPDATE memory_nearest SET tenant = 'evil'")
    finally:
        await connection.close()


async def test_vectors_of_what_is_gone_leave_it(store: PostgresStore, pgvector_database: str) -> None:
    await fill(store, 30)
    await store.nearest.bring_forward()
    for number in range(10):
        await store.change(Delete(ACME, f"k{number}", "alice", NOW))
    await store.nearest.bring_forward(prune=True)
    assert await _indexed(pgvector_database) == 20


# Doing without


async def test_a_server_that_loses_it_answers_all_the_same(
    pgvector_cluster: Cluster, new_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = await PostgresStore.open(pgvector_cluster.dsn(new_database, user=ROLE), index_from_rows=1)
    try:
        await fill(store, 300)
        await store.nearest.bring_forward()
        found = await nearest(store, 7)
        async with store.nearest._turn:
            pgvector_cluster.sql("SET client_min_messages = warning; DROP EXTENSION vector CASCADE", new_database)
            assert await nearest(store, 7) == found
            assert "the index of vectors is gone" in caplog.text
            assert str((await store.stats()).nearest).startswith("exact: ")
            await store.nearest.look()
            assert store.nearest.state.endswith(
                "the server has pgvector, and this role may not create it; as a superuser: CREATE EXTENSION vector"
            )
            assert await nearest(store, 7) == found
        # It appears again: nothing is migrated by hand.
        pgvector_cluster.sql("CREATE EXTENSION vector", new_database)
        for _ in range(200):
            await store.nearest.look()
            await store.nearest.bring_forward()
            if store.nearest.state.startswith("pgvector"):
                break
            await asyncio.sleep(0.1)
        assert await answered(store, 7) == (found, "index")
    finally:
        await store.close()


async def test_a_server_whose_pgvector_is_too_old_says_so(pgvector_cluster: Cluster, new_database: str) -> None:
    pgvector_cluster.sql("UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'", new_database)
    store = await PostgresStore.open(pgvector_cluster.dsn(new_database, user=ROLE), index_from_rows=1)
    try:
        assert (await store.stats()).nearest == (
            "exact: the server has pgvector 0.7.4, wanted pgvector 0.8 or newer; upgrade it; "
            "ALTER EXTENSION vector UPDATE"
        )
        await fill(store, 20)
        assert (await nearest(store, 7))[0] == "k7"
    finally:
        await store.close()


@pytest.mark.parametrize("is_brought", [True, False])
async def test_a_model_that_is_dropped_takes_its_index_along(
    store: PostgresStore, pgvector_database: str, is_brought: bool
) -> None:
    if not is_brought:
        await store.use_models([MODEL])
        await store.change(Create(ACME, "first", "alice", NOW, MemoryInput(content="first")))
        (due,) = await store.claim_texts(MODEL, now_us=NOW, limit=1, characters=100, lease_us=0)
        await store.store_vectors(MODEL, [Embedded(due.position, due.digest, direction(1))])
    await fill(store, 20)
    await store.nearest.bring_forward(prune=True)
    before = await _indexes(pgvector_database)
    if is_brought:
        await store.put_namespace(PutNamespace(ACME, "root", NOW, NamespaceSettings(embedder="none")))
    else:
        await store.use_models(["another"])
        while await store.drop_vectors(limit=100):
            pass
        await store.change(Delete(ACME, "k1", "alice", NOW))
    await store.nearest.bring_forward(prune=True)
    assert before == ["memory_nearest_of_brought_16" if is_brought else "memory_nearest_of_1"]
    assert await _indexes(pgvector_database) == []
    assert await _indexed(pgvector_database) == 0


async def _indexed(dsn: str) -> int:
    """Return how many vectors of `acme` the index has."""
    connection = await asyncpg.connect(dsn, server_settings={"search_path": "ragrid_memory", "ragrid.tenant": "acme"})
    try:
        return int(await connection.fetchval("SELECT count(*) FROM memory_nearest"))
    finally:
        await connection.close()


async def _indexes(dsn: str) -> list[str]:
    connection = await asyncpg.connect(dsn)
    try:
        sql = "SELECT indexname::text FROM pg_indexes WHERE indexname LIKE 'memory_nearest_of%'"
        return [row[0] for row in await connection.fetch(sql)]
    finally:
        await connection.close()
