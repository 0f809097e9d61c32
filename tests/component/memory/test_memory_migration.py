"""A long migration, by the real process: it answers all the while, and can be ended and killed at any moment.

The program of the tests waits at a row that they choose until they let it go on: see tests/support/halting_memory.py.
"""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragrid.errors import StateError
from ragrid.services.memory.sqlite.schema import MIGRATIONS
from ragrid.services.memory.sqlite.store import SqliteStore
from ragrid.web.progress import Progress
from support.halting_memory import HaltingMemory
from support.large_store import content_of, make_large_store
from support.memory_process import MemoryProcess

COUNT = 10_000
#: What the released file holds besides.
RELEASED = 9


@pytest.fixture(scope="module")
def old_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    make_large_store(folder, COUNT)
    return folder / "memory.db"


@pytest.fixture
def halting(old_store: Path, tmp_path: Path, free_port: int) -> Any:
    """A service that stands in the fifth step of its migration."""
    one = HaltingMemory(tmp_path, free_port)
    one.data_directory.mkdir()
    shutil.copy(old_store, one.data_directory / "memory.db")
    one.start_and_halt()
    yield one
    if one.process is not None and one.process.poll() is None:
        one.kill()


def steps_done(service: MemoryProcess) -> int:
    with closing(sqlite3.connect(service.data_directory / "memory.db")) as database:
        return int(database.execute("PRAGMA user_version").fetchone()[0])


async def assert_whole(service: MemoryProcess, client: httpx.AsyncClient) -> None:
    """It serves all memories, which are found by their words and say what they said."""
    alice = service.caller(client, tenant="acme")
    assert (await client.get("/readyz")).json()["memories"] == COUNT + RELEASED
    for number in (0, COUNT // 2, COUNT - 1):
        read = await alice.call("GET", f"/many-{number}")
        assert read.json()["content"] == content_of(number)
        assert await alice.search(str(number)) == [f"many-{number}"]
    assert (await alice.call("GET", "/tea")).json()["content"] == "Ada drinks black tea"


async def test_it_answers_while_it_migrates_and_serves_after(halting: HaltingMemory, client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).status_code == 200
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.headers["content-type"]) == (503, "application/problem+json")
    progress = ready.json()["progress"]
    assert (progress["step"], progress["of"]) == (5, len(MIGRATIONS))
    assert 50 <= progress["percent"] < 100
    assert f"step 5 of {len(MIGRATIONS)}" in ready.json()["detail"]
    alice = halting.caller(client, tenant="acme")
    for answer in (await alice.call("GET", "/tea"), await alice.call("POST", json={"content": "new"})):
        assert (answer.status_code, answer.json()["code"]) == (503, "store-unavailable")
        assert answer.headers["content-type"] == "application/problem+json"
        assert int(answer.headers["retry-after"]) > 0
    second = await asyncio.to_thread(halting.run)
    assert second.returncode == 4
    assert "memory.lock" in second.stderr
    halting.let_go()
    await asyncio.to_thread(halting.await_ready)
    await assert_whole(halting, client)


@pytest.mark.parametrize("end", [MemoryProcess.kill, MemoryProcess.stop], ids=["kill -9", "SIGTERM"])
async def test_what_ended_it_leaves_a_store_that_the_next_start_migrates(
    halting: HaltingMemory,
    make_service: Callable[..., MemoryProcess],
    client: httpx.AsyncClient,
    end: Callable[[MemoryProcess], object],
) -> None:
    await asyncio.to_thread(end, halting)
    assert "Traceback" not in halting.log_file.read_text()
    assert steps_done(halting) == 4
    again = make_service()
    await asyncio.to_thread(again.start)
    await assert_whole(again, client)


class Ending(Progress):
    """Ends the migration in one of its steps."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._step = step

    def goes_on(self) -> bool:
        super().goes_on()
        return self.step == self._step


def everything(path: Path) -> str:
    with closing(sqlite3.connect(path)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        plain = sorted(name for name in tables if not name.startswith(("memory_fts", "sqlite_")))
        rows = {name: database.execute(f"SELECT * FROM {name}").fetchall() for name in plain}  # noqa: S608 - names of tables
        schema = database.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
    return json.dumps([rows, schema], default=bytes.hex)


async def test_a_step_that_fails_leaves_the_file_as_it_was_before_it(old_store: Path, tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    shutil.copy(old_store, path)
    with pytest.raises(StateError, match="its migration was interrupted; the next start goes on with it"):
        SqliteStore.open(tmp_path, progress=Ending(3))
    before = everything(path)
    assert "many-9999" in before
    with pytest.raises(StateError, match="interrupted"):
        SqliteStore.open(tmp_path, progress=Ending(3))
    assert everything(path) == before
    await SqliteStore.open(tmp_path).close()
    assert everything(path) != before


async def test_a_memory_that_cannot_be_read_ends_it_with_the_step_and_the_reason(
    old_store: Path, tmp_path: Path, free_port: int
) -> None:
    service = MemoryProcess(tmp_path, free_port)
    service.data_directory.mkdir()
    path = service.data_directory / "memory.db"
    shutil.copy(old_store, path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE memory SET doc = x'7b' WHERE id = 'many-77'")
        database.commit()
    before = everything(path)
    refused = await asyncio.to_thread(service.run)
    assert refused.returncode == 1
    assert f"{path}: step 3 of its migration" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert steps_done(service) == 2
    assert json.loads(everything(path))[0]["memory"] == json.loads(before)[0]["memory"]
