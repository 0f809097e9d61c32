"""Every store that the suites of this folder run on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ragrid.services.memory.inmemory.store import InMemoryStore
from ragrid.services.memory.postgresql.store import PostgresStore
from ragrid.services.memory.protocol.store import MemoryStore
from ragrid.services.memory.sqlite.store import SqliteStore
from support.memory_stores import memory_database, memory_database_of_session, memory_role

__all__ = ["memory_database", "memory_database_of_session", "memory_role"]


@pytest.fixture(params=["sqlite", "inmemory", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MemoryStore]:
    """An empty store of the kind that the test is run for."""
    one: MemoryStore
    if request.param == "postgresql":
        one = await PostgresStore.open(request.getfixturevalue("memory_database"))
    else:
        one = SqliteStore.open(tmp_path) if request.param == "sqlite" else InMemoryStore()
    yield one
    await one.close()
