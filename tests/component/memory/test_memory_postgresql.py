"""The PostgreSQL store against its server: walls in the server, several replicas, and what goes wrong between them."""

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

from ragrid.errors import StateError
from ragrid.services.memory.changes import Condition, Create, Idempotency, Replace, Scope
from ragrid.services.memory.errors import StoreBrokenError, StoreBusyError, StoreFullError, VersionError
from ragrid.services.memory.model import MemoryInput
from ragrid.services.memory.namespaces import Brought
from ragrid.services.memory.postgresql.pool import _PATIENCE, Pool, server_answered
from ragrid.services.memory.postgresql.schema import FENCED, MIGRATIONS
from ragrid.services.memory.postgresql.store import PostgresStore
from ragrid.services.memory.postgresql.writer import LANES, QUEUE_LIMIT
from ragrid.services.memory.protocol.memories import Filter, Written
from ragrid.services.memory.protocol.search import QueryVector
from ragrid.services.memory.vectors import GivenVector
from support.cut_connection import CuttingProxy
from support.memory_stores import ROLE, memory_database, memory_database_new, memory_database_of_session, memory_role
from support.postgresql import Cluster

__all__ = ["memory_database", "memory_database_new", "memory_database_of_session", "memory_role"]

ACME, EVIL = Scope("acme", "default"), Scope("evil", "default")
NOW = 1_800_000_000_000_000
#: How often the server is killed under load; 50 were run by hand.
CRASHES = int(os.environ.get("RAGRID_POSTGRESQL_CRASHES", "1"))

Open = Callable[[], Awaitable[PostgresStore]]


def replace(memory_id: str, scope: Scope = ACME, condition: Condition | None = None, content: str = "tea") -> Replace:
    return Replace(scope, memory_id, "alice", NOW, MemoryInput(content=content), condition or Condition())


@pytest.fixture
async def open_store(memory_database: str) -> AsyncIterator[Open]:
    """Opens stores on one database, as replicas would."""
    opened: list[PostgresStore] = []

    async def make() -> PostgresStore:
        opened.append(await PostgresStore.open(memory_database))
        return opened[-1]

    yield make
    for one in opened:
        await one.close()


@pytest.fixture
async def store(open_store: Open) -> PostgresStore:
    return await open_store()


@contextlib.asynccontextmanager
async def plain_connection(dsn: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(dsn, server_settings={"search_path": "ragrid_memory"})
    try:
        yield connection
    finally:
        await connection.close()


async def fill(store: PostgresStore) -> None:
    for scope in (ACME, EVIL):
        given = MemoryInput(content="secret")
        await store.change(Create(scope, "k", "alice", NOW, given, Idempotency("key", b"f")))


# Walls in the server


async def test_a_statement_that_forgets_its_tenant_finds_nothing_of_others(
    store: PostgresStore, memory_database: str
) -> None:
    await fill(store)
    async with plain_connection(memory_database) as connection:
        for table in FENCED:
            assert await connection.fetch(f"SELECT * FROM {table}") == []  # noqa: S608 - names of our own
        await connection.execute("SELECT set_config('ragrid.tenant', 'acme', false)")
        for table in ("namespace", "memory", "memory_event", "idempotency"):
            assert {row["tenant"] for row in await connection.fetch(f"SELECT * FROM {table}")} == {"acme"}  # noqa: S608 - names of our own
        assert await connection.execute("UPDATE memory SET doc = ''") == "UPDATE 1"
        assert await connection.execute("DELETE FROM memory_event") == "DELETE 1"
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await connection.execute("UPDATE memory SET tenant = 'evil'")
    read = await store.read(EVIL, "k", now_us=NOW)
    assert read is not None
    assert b"secret" in read.doc


async def test_every_table_is_fenced_or_known_to_show_no_contents(store: PostgresStore, memory_database: str) -> None:
    forced = """
        SELECT relname::text, relrowsecurity AND relforcerowsecurity FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'ragrid_memory'::regnamespace
    """
    async with plain_connection(memory_database) as connection:
        tables = dict(await connection.fetch(forced))
    assert {name for name, is_forced in tables.items() if is_forced} == set(FENCED)
    assert {name for name, is_forced in tables.items() if not is_forced} <= {
        *("migration", "tenant", "memory_words", "embedding_model", "embedding_outbox"),
    }


async def test_the_word_index_shows_no_word(store: PostgresStore, memory_database: str) -> None:
    await store.change(replace("k", content="secret"))
    await store.change(replace("k", content="secret", scope=EVIL))
    async with plain_connection(memory_database) as connection:
        words = [row[0] for row in await connection.fetch("SELECT words::text FROM memory_words")]
    assert len(set(words)) == 2  # the same word, and yet not the same entry
    assert not any("secret" in one for one in words)


async def test_a_role_that_no_wall_binds_is_refused(postgresql_cluster: Cluster, memory_database: str) -> None:
    name = memory_database.partition("?")[0].rpartition("/")[2]
    with pytest.raises(StateError, match="row-level security"):
        await PostgresStore.open(postgresql_cluster.dsn(name))


# Migrations


async def test_replicas_that_start_at_once_migrate_once(memory_database_new: str) -> None:
    stores = await asyncio.gather(*(PostgresStore.open(memory_database_new) for _ in range(6)))
    for one in stores:
        await one.close()
    async with plain_connection(memory_database_new) as connection:
        rows = await connection.fetch("SELECT number FROM migration ORDER BY number")
    assert [row[0] for row in rows] == list(range(1, len(MIGRATIONS) + 1))


async def test_a_migration_that_fails_leaves_nothing(memory_database_new: str) -> None:
    async with plain_connection(memory_database_new) as connection:
        await connection.execute("CREATE SCHEMA ragrid_memory; CREATE TABLE ragrid_memory.memory_words ()")
        with pytest.raises(StoreBrokenError, match="memory_words"):
            await PostgresStore.open(memory_database_new)
        rows = await connection.fetch("SELECT tablename::text FROM pg_tables WHERE schemaname = 'ragrid_memory'")
    assert [row[0] for row in rows] == ["memory_words"]


async def test_a_database_of_a_newer_release_is_refused(memory_database_new: str) -> None:
    await (await PostgresStore.open(memory_database_new)).close()
    async with plain_connection(memory_database_new) as connection:
        await connection.execute(f"INSERT INTO migration (number) VALUES ({len(MIGRATIONS) + 1})")  # noqa: S608 - a number
    with pytest.raises(StateError, match="newer ragrid"):
        await PostgresStore.open(memory_database_new)


async def test_one_brought_model_for_all_becomes_one_of_each_namespace(memory_database_new: str) -> None:
    scopes = [Scope("acme", "default"), Scope("evil", "default")]
    given = GivenVector(model="theirs", values=(3.0, 0.0, 4.0))
    store = await PostgresStore.open(memory_database_new)
    for scope in scopes:
        await store.change(Replace(scope, "k", "alice", NOW, MemoryInput(content="tea", embedding=given)))
    await store.change(Replace(Scope("acme", "other"), "k", "alice", NOW, MemoryInput(content="tea")))
    await store.close()
    async with plain_connection(memory_database_new) as connection:  # back to the first schema
        await connection.execute("""
            SET search_path = ragrid_memory;
            INSERT INTO embedding_model (name, dimension, state) VALUES ('theirs', 3, 'given');
            ALTER TABLE namespace DROP COLUMN brought_model, DROP COLUMN brought_dimension;
            DELETE FROM migration WHERE number > 1
        """)
        for scope in scopes:
            await connection.execute("SELECT set_config('ragrid.tenant', $1, false)", scope.tenant)
            assert await connection.execute("UPDATE memory_vector SET model = 1") == "UPDATE 1"
    store = await PostgresStore.open(memory_database_new)
    try:
        for scope in scopes:
            vector = QueryVector("theirs", given.direction)
            hits = await store.search(scope, (), Filter(), now_us=NOW, limit=9, vector=vector)
            space = await store.namespace(scope)
            assert space is not None
            assert (len(hits), space.room.brought) == (1, Brought("theirs", 3))
        other = await store.namespace(Scope("acme", "other"))
        assert other is not None
        assert other.room.brought is None
        assert (await store.models()).active is None
    finally:
        await store.close()
    async with plain_connection(memory_database_new) as connection:  # the walls stand again
        assert await connection.fetch("SELECT * FROM ragrid_memory.memory_vector") == []
        assert await connection.fetch("SELECT * FROM ragrid_memory.namespace") == []


# Replicas


async def test_of_many_writers_on_several_replicas_exactly_one_wins(open_store: Open) -> None:
    stores = [await open_store() for _ in range(3)]
    version = (await stores[0].change(replace("k"))).version
    for _ in range(5):
        wanted = Condition(versions=frozenset({version}))
        results = await asyncio.gather(
            *(stores[number % 3].change(replace("k", condition=wanted)) for number in range(64)), return_exceptions=True
        )
        winners = [one for one in results if isinstance(one, Written)]
        assert len(winners) == 1
        assert sum(isinstance(one, VersionError) for one in results) == 63
        version = winners[0].version


async def test_one_idempotency_key_on_several_replicas_makes_one_memory(open_store: Open) -> None:
    stores = [await open_store() for _ in range(3)]
    creates = [
        stores[number % 3].change(
            Create(ACME, f"id-{number}", "alice", NOW, MemoryInput(content="x"), Idempotency("key", b"f"))
        )
        for number in range(30)
    ]
    results = await asyncio.gather(*creates)
    assert len({one.id for one in results}) == 1
    assert sum(not one.is_replay for one in results) == 1


async def test_a_feed_misses_nothing_whoever_commits_first(open_store: Open) -> None:
    writers, reader = [await open_store() for _ in range(3)], await open_store()
    order = random.Random(7)
    seen: list[int] = []
    written = 0

    async def write(store: PostgresStore, number: int) -> None:
        nonlocal written
        await asyncio.sleep(order.random() * 0.5)
        await store.change(replace(f"k{number}"))
        written += 1

    async def follow() -> None:
        while len(seen) < 300:
            page = await reader.changes(ACME, since=seen[-1] if seen else 0, now_us=NOW, limit=50)
            seen.extend(one.seq for one in page.events)

    following = asyncio.create_task(follow())
    await asyncio.gather(*(write(writers[number % 3], number) for number in range(300)))
    await asyncio.wait_for(following, 60)
    assert seen == list(range(1, 301))
    assert written == 300


async def test_a_change_on_one_replica_wakes_who_waits_on_another(open_store: Open) -> None:
    here, there = await open_store(), await open_store()
    with there.watches.watch(ACME) as watch:
        await here.change(replace("k"))
        await asyncio.wait_for(watch.changed(), 60)


async def test_replicas_that_sweep_at_once_end_each_memory_once(open_store: Open) -> None:
    stores = [await open_store() for _ in range(3)]
    for number in range(40):
        given = MemoryInput(content="tea", ttl_seconds=1)
        await stores[0].change(Replace(Scope(f"t{number % 4}", "default"), f"k{number}", "alice", NOW, given))
    swept = await asyncio.gather(*(one.sweep(now_us=NOW + 10**7, limit=100) for one in stores))
    assert sum(swept) == 40
    assert (await stores[1].stats()).rows == 0


# What goes wrong


async def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreBrokenError, match="the database failed"):
        await PostgresStore.open(f"postgresql://memory@/none?host={tmp_path}")


async def test_lost_connections_are_made_again(store: PostgresStore, postgresql_cluster: Cluster) -> None:
    await store.change(replace("k"))
    kill = f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = '{ROLE}'"  # noqa: S608 - a name of our own
    acknowledged: list[str] = ["k"]

    async def write(number: int) -> None:
        with contextlib.suppress(StoreBrokenError):
            acknowledged.append((await store.change(replace(f"k{number}"))).id)

    for turn in range(3):
        writes = asyncio.gather(*(write(turn * 100 + number) for number in range(50)))
        await asyncio.to_thread(postgresql_cluster.sql, kill)
        await writes
    for memory_id in acknowledged:
        assert await _recovered(store, memory_id)
    await store.probe()


@pytest.mark.parametrize("is_delivered", [True, False])
async def test_a_commit_without_an_answer_is_looked_up(
    memory_database: str, postgresql_cluster: Cluster, *, is_delivered: bool
) -> None:
    """The connection is cut right behind the COMMIT, or right before it: the store finds out which."""
    async with CuttingProxy(postgresql_cluster.directory) as proxy:
        store = await PostgresStore.open(memory_database.replace(str(postgresql_cluster.directory), proxy.directory))
        await store.change(replace("before"))
        proxy.cut_next(b"COMMIT", is_delivered=is_delivered)
        if is_delivered:
            assert (await store.change(replace("k"))).is_new
        else:
            with pytest.raises(StoreBrokenError, match="nothing was written"):
                await store.change(replace("k"))
        assert proxy.cuts == 1
        assert (await store.read(ACME, "k", now_us=NOW) is not None) is is_delivered
        await store.close()


async def test_a_full_disk_refuses_writes_and_reads_go_on(store: PostgresStore, memory_database: str) -> None:
    """The server's own error, raised by a trigger: a disk that is really full stops more than one database."""
    await store.change(replace("k"))
    trigger = """
        CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
          $$ BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;
        CREATE TRIGGER full_disk BEFORE INSERT ON memory_event EXECUTE FUNCTION full_disk()
    """
    async with plain_connection(memory_database) as connection:
        await connection.execute(trigger)
        try:
            results = await asyncio.gather(*(store.change(replace(f"n{n}")) for n in range(5)), return_exceptions=True)
            assert [type(one) for one in results] == [StoreFullError] * 5
            assert await store.read(ACME, "k", now_us=NOW) is not None
        finally:
            await connection.execute("DROP FUNCTION full_disk CASCADE")
    await store.change(replace("n0"))
    assert (await store.stats()).rows == 2


async def test_one_tenant_that_is_held_up_does_not_hold_up_the_others(
    store: PostgresStore, memory_database: str
) -> None:
    await fill(store)
    async with plain_connection(memory_database) as connection, connection.transaction():
        await connection.fetch("SELECT FROM tenant WHERE tenant = 'acme' FOR UPDATE")
        waiting = [asyncio.ensure_future(store.change(replace(f"k{number}"))) for number in range(QUEUE_LIMIT)]
        await asyncio.sleep(0)
        with pytest.raises(StoreBusyError, match="writes are waiting"):
            await store.change(replace("one too many"))
        for one in waiting[1:]:
            one.cancel()
        await asyncio.sleep(0.05)
        assert await store.read(ACME, "k", now_us=NOW) is not None
    assert (await waiting[0]).is_new


async def test_other_tenants_go_on_while_one_is_locked(store: PostgresStore, memory_database: str) -> None:
    await fill(store)
    async with plain_connection(memory_database) as connection, connection.transaction():
        await connection.fetch("SELECT FROM tenant WHERE tenant = 'acme' FOR UPDATE")
        held = asyncio.ensure_future(store.change(replace("held")))
        for number in range(5):
            await store.change(replace(f"k{number}", scope=EVIL))
        assert not held.done()
    assert (await held).is_new


@pytest.fixture
def stopped_server(postgresql_cluster: Cluster) -> Iterator[Callable[[], None]]:
    """Stops the server with all its processes, as a disk that hangs does; it goes on at the end."""
    main = psutil.Process(postgresql_cluster.pid)
    stopped: list[psutil.Process] = []

    def stop() -> None:
        for process in (main, *main.children(recursive=True)):
            process.suspend()
            stopped.append(process)

    yield stop
    for process in stopped:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()


async def test_a_server_that_hangs_is_seen_and_comes_back(
    store: PostgresStore, stopped_server: Callable[[], None], postgresql_cluster: Cluster
) -> None:
    await store.change(replace("k"))
    stopped_server()
    with pytest.raises(StoreBrokenError, match="did not answer in 3 s"):
        await store.probe()
    main = psutil.Process(postgresql_cluster.pid)
    for process in (main, *main.children(recursive=True)):
        process.resume()
    await store.change(replace("again"))
    assert await _recovered(store, "k")


async def test_callers_of_a_server_that_hangs_are_told_while_it_hangs(
    store: PostgresStore, stopped_server: Callable[[], None], postgresql_cluster: Cluster
) -> None:
    """Writes of more tenants than write at once, reads, searches: refused while the first transaction still waits."""
    scopes = [Scope(f"t{number}", "default") for number in range(LANES + 2)]
    for scope in scopes:
        await store.change(replace("before", scope=scope))
    stopped_server()
    names = [(scope, f"k{number}") for scope in scopes for number in range(3)]
    told, *reads = await asyncio.gather(
        asyncio.gather(*(store.change(replace(one, scope=scope)) for scope, one in names), return_exceptions=True),
        *(store.read(scope, "before", now_us=NOW) for scope in scopes),
        *(store.search(scope, ("tea",), Filter(), now_us=NOW, limit=3) for scope in scopes),
        return_exceptions=True,
    )
    assert isinstance(told, list)
    assert {type(one) for one in (*told, *reads)} == {StoreBrokenError}
    # One transaction at least had its connection and still waits; who comes now hears it at once.
    assert "not known yet" in str(told[0])
    assert store.waiting_writes > 0
    with pytest.raises(StoreBrokenError, match="nothing was written, try again later"):
        await store.change(replace("late", scope=scopes[0]))
    main = psutil.Process(postgresql_cluster.pid)
    for process in (main, *main.children(recursive=True)):
        process.resume()
    for scope in scopes:
        assert (await _written(store, "after", scope)).version == 1
        assert await store.read(scope, "before", now_us=NOW) is not None
    refused = [name for name, error in zip(names, told, strict=True) if "nothing was written" in str(error)]
    assert len(refused) >= 3
    for scope, one in (*refused, (scopes[0], "late")):
        assert await store.read(scope, one, now_us=NOW) is None


async def test_a_read_is_given_up_when_no_answer_comes(memory_database: str) -> None:
    pool = Pool(memory_database, 1, patience_s=0.5)
    with pytest.raises(StoreBrokenError, match="TimeoutError"):
        async with pool.reader("acme") as connection:
            await connection.execute("SELECT pg_sleep(60)")
    await pool.close()


async def test_a_read_in_many_steps_is_patient_with_each(memory_database: str) -> None:
    pool = Pool(memory_database, 1, patience_s=1e6)
    async with pool.reader("acme"):
        patience = _PATIENCE.get()
        assert patience is not None
        before_s = patience.when()
        server_answered()
        assert patience.when() != before_s
    server_answered()  # nobody reads: nothing to do
    await pool.close()


async def _written(store: PostgresStore, memory_id: str, scope: Scope) -> Written:
    """Write a memory, once the store has found its server again."""
    for _ in range(600):
        try:
            return await store.change(replace(memory_id, scope=scope))
        except StoreBrokenError:
            await asyncio.sleep(0.05)
    raise AssertionError("the store has not found its server again")


async def test_what_was_acknowledged_survives_a_killed_server(
    store: PostgresStore, postgresql_cluster: Cluster
) -> None:
    acknowledged: set[str] = set()
    for crash in range(CRASHES):
        crashing = asyncio.create_task(_crash(postgresql_cluster, acknowledged, more=20 + crash % 50))
        names = [f"c{crash}-{writer}" for writer in range(16)]
        await asyncio.gather(*(_write_until(crashing, store, name, acknowledged) for name in names))
        await crashing
        assert await _recovered(store, next(iter(acknowledged)))
    there = await _all_ids(store)
    assert acknowledged <= there
    assert len(there) == (await store.stats()).rows


async def _write_until(done: asyncio.Task[None], store: PostgresStore, name: str, acknowledged: set[str]) -> None:
    """Write memories until `done` is; add the ids of those that were acknowledged."""
    number = 0
    while not done.done():
        number += 1
        try:
            written = await store.change(replace(f"{name}-{number}"))
        except (StoreBrokenError, StoreBusyError):
            await asyncio.sleep(0.05)
        else:
            acknowledged.add(written.id)


async def _crash(cluster: Cluster, acknowledged: set[str], *, more: int) -> None:
    """Kill the server with all its processes once `more` memories were acknowledged, and start it again."""
    wanted = len(acknowledged) + more
    while len(acknowledged) < wanted:  # noqa: ASYNC110 - a set tells nobody when it grows
        await asyncio.sleep(0.001)
    await asyncio.to_thread(cluster.crash)
    cluster.start()  # on this thread: the server ends with the thread that started it


async def _recovered(store: PostgresStore, memory_id: str) -> bool:
    """Tell whether a memory is there, once the store has found its server again."""
    for _ in range(200):
        try:
            return await store.read(ACME, memory_id, now_us=NOW) is not None
        except StoreBrokenError:
            await asyncio.sleep(0.05)
    raise AssertionError("the store has not found its server again")


async def _all_ids(store: PostgresStore) -> set[str]:
    found: set[str] = set()
    before: int | None = None
    while True:
        page = await store.page(ACME, Filter(), now_us=NOW, limit=200, before=before)
        found |= {doc.split(b'"', 4)[3].decode() for doc in page.docs}
        before = page.next_position
        if before is None:
            return found
