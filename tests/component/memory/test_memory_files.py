"""The SQLite store against its files and its disk: what it refuses, and what it does when the disk is held up."""

import asyncio
import contextlib
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import apsw
import pytest

from ragrid.errors import ConflictError, StateError
from ragrid.services.memory.changes import Create, Scope
from ragrid.services.memory.errors import StoreBrokenError, StoreBusyError
from ragrid.services.memory.model import MemoryInput
from ragrid.services.memory.protocol.memories import Filter, Written
from ragrid.services.memory.sqlite.schema import MIGRATIONS
from ragrid.services.memory.sqlite.store import SqliteStore
from ragrid.services.memory.sqlite.transaction import Transaction
from ragrid.services.memory.sqlite.writer import QUEUE_LIMIT

ACME = Scope("acme", "default")
NOW = 1_800_000_000_000_000


def create(number: int) -> Create:
    return Create(ACME, f"k{number}", "alice", NOW, MemoryInput(content=f"fact {number}"))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    one = SqliteStore.open(tmp_path)
    yield one
    await one.close()


@contextlib.contextmanager
def write_lock(folder: Path) -> Iterator[None]:
    other = apsw.Connection(str(folder / "memory.db"))
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close(True)


def _modes(folder: Path) -> dict[str, int]:
    return {one.name: stat.S_IMODE(one.stat().st_mode) for one in folder.iterdir()}


async def _made(folder: Path) -> Path:
    store = SqliteStore.open(folder)
    await store.change(create(1))
    await store.close()
    return folder / "memory.db"


async def test_files_are_private(store: SqliteStore, tmp_path: Path) -> None:
    await store.change(create(1))
    modes = _modes(tmp_path)
    assert modes.keys() >= {"memory.db", "memory.db-wal", "memory.lock"}
    assert set(modes.values()) == {0o600}


async def test_a_second_store_in_this_process_is_refused_too(store: SqliteStore, tmp_path: Path) -> None:
    with pytest.raises(ConflictError, match=r"memory\.lock"):
        SqliteStore.open(tmp_path)


@pytest.mark.parametrize("damage", ["garbage", "empty", "cut", "other", "newer", "torn"])
async def test_a_file_that_is_not_a_sound_store_is_refused_and_not_touched(tmp_path: Path, damage: str) -> None:
    path = await _made(tmp_path)
    sound = path.read_bytes()
    match damage:
        case "garbage":
            path.write_bytes(b"garbage" * 5000)
        case "empty":
            path.write_bytes(b"")
        case "cut":
            path.write_bytes(sound[: len(sound) // 2])
        case "torn":
            path.write_bytes(sound[:8192] + b"\xff" * 8192 + sound[16384:])
        case "other":
            path.unlink()
            other = apsw.Connection(str(path))
            other.execute("CREATE TABLE mine (x)")
            other.close()
        case "newer":
            other = apsw.Connection(str(path))
            other.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
            other.close()
    found = path.read_bytes()
    with pytest.raises(StateError, match=r"memory\.db"):
        SqliteStore.open(tmp_path)
    assert path.read_bytes() == found


async def test_a_store_whose_file_is_gone_is_not_started_empty(tmp_path: Path) -> None:
    path = await _made(tmp_path)
    path.rename(tmp_path / "elsewhere")
    (tmp_path / "memory.db-wal").write_bytes(b"log")
    with pytest.raises(StateError, match="missing"):
        SqliteStore.open(tmp_path)
    assert not path.exists()


async def test_a_start_that_was_cut_short_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "memory.db.new").write_bytes(b"half a store")
    await _made(tmp_path)
    assert not (tmp_path / "memory.db.new").exists()


async def test_a_writer_that_is_held_up_is_seen_and_goes_on_afterwards(store: SqliteStore, tmp_path: Path) -> None:
    await store.change(create(0))
    with write_lock(tmp_path):
        writing = asyncio.create_task(store.change(create(1)))
        with pytest.raises(StoreBrokenError, match="stuck"):
            await store.probe()
        assert await store.read(ACME, "k0", now_us=NOW) is not None
        assert not writing.done()
    assert (await writing).is_new
    await store.probe()


async def test_a_queue_that_is_full_refuses_and_loses_nothing(store: SqliteStore, tmp_path: Path) -> None:
    with write_lock(tmp_path):
        writing = [asyncio.create_task(store.change(create(number))) for number in range(QUEUE_LIMIT)]
        await asyncio.sleep(0)
        with pytest.raises(StoreBusyError, match=str(QUEUE_LIMIT)):
            await store.change(create(QUEUE_LIMIT))
    results = await asyncio.gather(*writing)
    assert all(isinstance(one, Written) for one in results)
    assert (await store.stats()).rows == QUEUE_LIMIT
    assert store.waiting_writes == 0


async def test_a_caller_that_goes_away_leaves_a_whole_write(store: SqliteStore) -> None:
    writing = asyncio.create_task(store.change(create(1)))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await store.probe()
    page = await store.page(ACME, Filter(), now_us=NOW, limit=10)
    assert len(page.docs) == 1


async def test_a_fault_of_ours_is_not_told_as_one_of_the_disk(store: SqliteStore) -> None:
    """Its caller alone has it; what shares its commit is written, and the file stays open as it is."""

    def at_fault(transaction: Transaction) -> None:
        transaction.run("DELETE FROM memory", ())
        raise ZeroDivisionError("a fault of ours")

    await store.change(create(0))
    connection = store.writer._connection
    results = await asyncio.gather(
        store.change(create(1)), store.writer.submit(at_fault), store.change(create(2)), return_exceptions=True
    )
    assert [type(one) for one in results] == [Written, ZeroDivisionError, Written]
    assert store.writer._connection is connection
    assert (await store.stats()).rows == 3


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path)
    await store.close()
    with pytest.raises(StoreBrokenError, match="closing"):
        await store.change(create(1))
    with pytest.raises(StoreBrokenError):
        await store.page(ACME, Filter(), now_us=NOW, limit=10)
