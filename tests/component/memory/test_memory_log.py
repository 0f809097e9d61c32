"""The write-ahead log of the SQLite store: emptied beside the commits, whoever reads, and whatever the disk says."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import apsw
import pytest

from ragrid.services.memory.changes import Create, Scope
from ragrid.services.memory.model import MemoryInput
from ragrid.services.memory.sqlite import log_keeper
from ragrid.services.memory.sqlite import store as store_module
from ragrid.services.memory.sqlite.files import fetch, open_mover, open_reader, open_writer, prepare
from ragrid.services.memory.sqlite.log_keeper import LogKeeper
from ragrid.services.memory.sqlite.store import SqliteStore

ACME = Scope("acme", "default")
NOW = 1_800_000_000_000_000
#: Far more than it takes; each write leaves some ten pages of 4 KiB in the log.
WRITES = 2000
PAGES = 100


@pytest.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SqliteStore]:
    monkeypatch.setattr(store_module, "LogKeeper", partial(LogKeeper, pages=PAGES))
    one = SqliteStore.open(tmp_path)
    yield one
    await one.close()


async def _write(store: SqliteStore, number: int) -> None:
    await store.change(Create(ACME, f"k{number}", "alice", NOW, MemoryInput(content=f"fact {number} " + "x" * 500)))


def _size(folder: Path) -> int:
    """Return the size of the file itself; it grows when something is moved out of the log. To open it is no way: who
    closes a file gives up the locks of the whole process on it.
    """
    return (folder / "memory.db").stat().st_size


async def test_writes_reach_the_file_while_more_are_written(store: SqliteStore, tmp_path: Path) -> None:
    before = _size(tmp_path)
    for number in range(WRITES):
        await _write(store, number)
        if _size(tmp_path) > before:
            break
    else:
        pytest.fail("nothing was moved out of the log")
    for number in range(WRITES, WRITES + 500):
        await _write(store, number)
    assert (tmp_path / "memory.db-wal").stat().st_size < 500 * 4096 * 4, "the log never began anew"


async def test_a_long_reader_keeps_its_moment_and_the_log_is_emptied_after_it(
    store: SqliteStore, tmp_path: Path
) -> None:
    await _write(store, 0)
    reader = open_reader(tmp_path / "memory.db")
    with reader:
        assert fetch(reader, "SELECT count(*) FROM memory") == [(1,)]
        for number in range(1, 101):
            await _write(store, number)
        assert fetch(reader, "SELECT count(*) FROM memory") == [(1,)]
        before = _size(tmp_path)
    reader.close()
    for number in range(101, WRITES):
        await _write(store, number)
        if _size(tmp_path) > before:
            return
    pytest.fail("nothing was moved out of the log after the reader had gone")


def test_a_log_that_a_reader_holds_is_not_looked_at_with_each_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "memory.db"
    prepare(path)
    looks = 0
    look = log_keeper.checkpoint

    def counting(connection: apsw.Connection) -> int:
        nonlocal looks
        looks += 1
        return look(connection)

    monkeypatch.setattr(log_keeper, "checkpoint", counting)
    keeper = LogKeeper(lambda: open_mover(path), pages=50)
    writer, reader = open_writer(path), open_reader(path)
    keeper.watch(writer)
    with reader:
        fetch(reader, "SELECT 1 FROM namespace")
        for number in range(200):
            writer.execute("INSERT INTO namespace (tenant, name, created_us) VALUES ('acme', ?, 0)", (f"n{number}",))
            keeper.committed(writer)
        pages, _ = writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    keeper.close()
    a_move = log_keeper.PASSES + 1
    assert 0 < looks <= a_move * (pages // 50)
    reader.close()
    writer.close()


def test_a_log_that_cannot_be_moved_stays_and_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    prepare(path)
    opened = 0

    def refuse_once() -> apsw.Connection:
        nonlocal opened
        opened += 1
        if opened == 1:
            raise apsw.IOError("the disk is ill")
        return open_writer(path)

    keeper = LogKeeper(refuse_once, pages=1)
    writer = open_writer(path)
    keeper.watch(writer)
    for number in range(WRITES):
        writer.execute("INSERT INTO namespace (tenant, name, created_us) VALUES ('acme', ?, 0)", (f"n{number}",))
        keeper.committed(writer)
        if opened == 2:
            break
    keeper.close()
    assert opened == 2
    assert fetch(writer, "SELECT count(*) FROM namespace") == [(number + 1,)]
    writer.close()
