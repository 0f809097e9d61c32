"""Backups of the SQLite store: whole, private, beside the writes, and good for going on from."""

import asyncio
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from errno import ENOSPC
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from ragrid.services.memory.changes import ANY, Replace, Scope
from ragrid.services.memory.errors import StoreBrokenError, StoreFullError
from ragrid.services.memory.model import MemoryInput
from ragrid.services.memory.sqlite import backups, copying
from ragrid.services.memory.sqlite.store import SqliteStore
from support.memory_calls import Caller
from support.memory_process import MemoryProcess

ACME = Scope("acme", "default")
NOW = 1_800_000_000_000_000
#: More than one step of a copy.
MANY = 400


def put(number: int, text: str = "x" * 300) -> Replace:
    return Replace(ACME, f"k{number}", "alice", NOW + number, MemoryInput(content=f"fact {number} {text}"), ANY, None)


async def seq_of(store: SqliteStore, change: Replace) -> int:
    seq: int = msgspec.json.decode((await store.change(change)).doc)["seq"]
    return seq


def nothing(_done: int, _total: int) -> None:
    """Hear how far it is, and do nothing."""


@pytest.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SqliteStore]:
    monkeypatch.setattr(copying, "PAGES", 16)
    one = SqliteStore.open(tmp_path / "store", backups_kept=2)
    await asyncio.gather(*(one.change(put(number)) for number in range(MANY)))
    yield one
    await one.close()


def names(folder: Path) -> list[str]:
    found = folder / "store" / backups.FOLDER
    return sorted(one.name for one in found.iterdir()) if found.exists() else []


async def restored(folder: Path, name: str) -> SqliteStore:
    """Open a store that begins with a backup, and with nothing else."""
    (folder / "new").mkdir()
    shutil.copy(folder / "store" / backups.FOLDER / name, folder / "new" / "memory.db")
    return SqliteStore.open(folder / "new")


async def test_a_backup_is_the_store_of_one_moment(store: SqliteStore, tmp_path: Path) -> None:
    written: list[int] = []
    copied = asyncio.Event()

    async def write() -> None:
        while not copied.is_set():
            written.append(await seq_of(store, put(MANY + len(written))))

    steps: list[tuple[int, int]] = []
    writing = asyncio.create_task(write())
    made = await store.back_up(now_us=NOW, note=lambda done, total: steps.append((done, total)))
    copied.set()
    await writing
    assert made.name == "memory-20270115T080000.000000Z.db"
    assert (names(tmp_path), made.kept) == ([made.name], (made.name,))
    assert len(steps) > 2, "one step is no proof"
    assert steps[-1][0] == steps[-1][1]
    assert written[0] <= MANY + 1
    assert written[-1] > made.seq, "nothing was written beside it"

    file = store.backup_folder.folder / made.name
    assert file.stat().st_size == made.size_bytes
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    again = await restored(tmp_path, made.name)
    events = await again.changes(ACME, since=0, limit=10_000, now_us=NOW)
    assert [one.seq for one in events.events] == list(range(1, made.seq + 1))
    assert await seq_of(again, put(0)) == made.seq + 1
    await again.close()


async def test_the_newest_few_are_kept_whatever_the_clock_says(store: SqliteStore, tmp_path: Path) -> None:
    for second in (1, 2, 3):
        await store.back_up(now_us=NOW + second * 1_000_000, note=nothing)
    assert names(tmp_path) == ["memory-20270115T080002.000000Z.db", "memory-20270115T080003.000000Z.db"]
    made = await store.back_up(now_us=NOW, note=nothing)
    assert made.kept == ("memory-20270115T080003.000000Z.db", "memory-20270115T080000.000000Z.db")


async def test_a_disk_without_room_gets_none(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = (await store.back_up(now_us=NOW, note=nothing)).name
    plenty, room = 2**40, [0]
    monkeypatch.setattr(backups, "_free_bytes", lambda _folder: room.pop(0) if room else plenty)
    with pytest.raises(StoreFullError, match="has 0 bytes left, wanted"):
        await store.back_up(now_us=NOW + 1, note=nothing)
    room[:] = [plenty, plenty, 0]  # somebody else fills it meanwhile
    with pytest.raises(StoreFullError, match="bytes left"):
        await store.back_up(now_us=NOW + 1, note=nothing)
    assert names(tmp_path) == [kept]


@pytest.mark.parametrize(("number", "wanted"), [(ENOSPC, StoreFullError), (5, StoreBrokenError)])
async def test_a_disk_that_fails_leaves_nothing_half(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, wanted: type[Exception]
) -> None:
    def fail(_handle: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", fail)
        with pytest.raises(wanted):
            await store.back_up(now_us=NOW, note=nothing)
    assert names(tmp_path) == []
    assert (await store.back_up(now_us=NOW, note=nothing)).seq == MANY


async def test_a_copy_that_is_not_sound_is_none(store: SqliteStore, tmp_path: Path) -> None:
    def spoil(done: int, total: int) -> None:
        if done == total:
            with (store.backup_folder.folder / "unfinished.db").open("r+b") as file:
                file.seek(4096)
                file.write(os.urandom(8 * 4096))

    with pytest.raises(StoreBrokenError, match=r"not sound|could not be written"):
        await store.back_up(now_us=NOW, note=spoil)
    assert names(tmp_path) == []


async def test_a_service_that_ends_gives_it_up(store: SqliteStore, tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    begun = asyncio.Event()

    def note(_done: int, _total: int) -> None:
        loop.call_soon_threadsafe(begun.set)

    making = asyncio.create_task(store.back_up(now_us=NOW, note=note))
    await begun.wait()
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    assert names(tmp_path) == []


_KILLED = """
import asyncio, os, pathlib, signal, sys
from ragrid.services.memory.sqlite import copying
from ragrid.services.memory.sqlite.store import SqliteStore
copying.PAGES = 16
def note(done, total):
    if done > total // 2:
        os.kill(os.getpid(), signal.SIGKILL)
async def main():
    store = SqliteStore.open(pathlib.Path(sys.argv[1]))
    await store.back_up(now_us=1_800_000_000_000_000, note=note)
asyncio.run(main())
"""


async def test_one_that_was_killed_is_gone_after_the_next_start(store: SqliteStore, tmp_path: Path) -> None:
    await store.close()
    command = (sys.executable, "-c", _KILLED, str(tmp_path / "store"))
    ended = await asyncio.to_thread(lambda: subprocess.run(command, check=False))
    assert ended.returncode == -signal.SIGKILL
    assert names(tmp_path) == ["unfinished.db"]
    again = SqliteStore.open(tmp_path / "store")
    assert names(tmp_path) == []
    assert (await again.back_up(now_us=NOW, note=nothing)).seq == MANY
    await again.close()


ADMIN = "memory:read memory:write memory:admin"


async def _ended(caller: Caller, job_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        job: dict[str, Any] = (await caller.call("GET", f"/../jobs/{job_id}")).json()
        if job["state"] != "running":
            return job
        await asyncio.sleep(0.02)
    pytest.fail("the job did not end")


async def test_the_service_is_restored_from_a_backup(
    make_service: Callable[..., MemoryProcess], client: httpx.AsyncClient
) -> None:
    """As docs/operations.md says it: stopped, the store moved away, a backup put in its place, started."""
    service = make_service()
    service.start()
    root = service.caller(client, scope=ADMIN)
    seqs = {(await root.create(content=f"fact {number}"))["seq"]: number for number in range(20)}
    started = await root.call("POST", "/../admin/backup")
    assert (started.status_code, started.json()["kind"]) == (202, "backup")
    assert started.headers["location"] == f"/memory/v1/jobs/{started.json()['id']}"
    job = await _ended(root, started.json()["id"])
    assert (job["state"], job["error"], job["done"]) == ("done", None, job["total"])
    assert job["result"]["seq"] == max(seqs)
    metrics = (await client.get("/metrics")).text
    assert float(re.findall(r"^memory_backup_size_bytes (\S+)$", metrics, re.MULTILINE)[0]) == job["result"]["bytes"]
    later = await root.create(content="after the backup")

    await asyncio.to_thread(service.kill)
    (service.data_directory / "before").mkdir()
    for one in service.data_directory.glob("memory.db*"):
        one.rename(service.data_directory / "before" / one.name)
    shutil.copy(service.data_directory / "backups" / job["result"]["name"], service.data_directory / "memory.db")
    await asyncio.to_thread(service.start)
    listed = (await root.call("GET", params={"limit": 200})).json()["memories"]
    assert {one["seq"]: int(one["content"].split()[1]) for one in listed} == seqs
    assert (await root.call("GET", f"/{later['id']}")).status_code == 404
    feed = await root.call("GET", "/../changes", params={"since": str(later["seq"])})
    assert (feed.status_code, feed.json()["code"]) == (409, "feed-rewound")
    assert "memory_backup_last_success_timestamp_seconds 0.0" not in (await client.get("/metrics")).text
