"""Every store that the suites of this folder run on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ragrid.services.memory.inmemory.store import InMemoryStore
from ragrid.services.memory.protocol.store import MemoryStore
from ragrid.services.memory.sqlite.store import SqliteStore


@pytest.fixture(params=["sqlite", "inmemory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MemoryStore]:
    one: MemoryStore = SqliteStore.open(tmp_path) if request.param == "sqlite" else InMemoryStore()
    yield one
    await one.close()
