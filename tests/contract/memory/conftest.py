"""Every store that the suites of this folder run on."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ragrid.services.memory.inmemory.store import InMemoryStore
from ragrid.services.memory.postgresql.store import PostgresStore
from ragrid.services.memory.protocol.search import Hit
from ragrid.services.memory.protocol.store import MemoryStore
from ragrid.services.memory.sqlite.store import SqliteStore
from support.memory_stores import (
    memory_database,
    memory_database_of_session,
    memory_role,
    pgvector_database,
    pgvector_database_of_session,
)

__all__ = [
    "memory_database",
    "memory_database_of_session",
    "memory_role",
    "pgvector_database",
    "pgvector_database_of_session",
]


class IndexedStore(PostgresStore):
    """Has every vector in the server's index before each search by meaning, whatever the size of the namespace."""

    async def search(self, *arguments: Any, **more: Any) -> tuple[Hit, ...]:
        assert self.nearest.state.startswith("pgvector"), self.nearest.state
        if more.get("vector") is not None:
            await self.nearest.bring_forward(prune=True)
        return await super().search(*arguments, **more)


@pytest.fixture(params=["sqlite", "inmemory", "postgresql", "postgresql-pgvector"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MemoryStore]:
    """An empty store of the kind that the test is run for."""
    one: MemoryStore
    if request.param == "postgresql":
        one = await PostgresStore.open(request.getfixturevalue("memory_database"))
    elif request.param == "postgresql-pgvector":
        one = await IndexedStore.open(request.getfixturevalue("pgvector_database"), index_from_rows=0)
    else:
        one = SqliteStore.open(tmp_path) if request.param == "sqlite" else InMemoryStore()
    yield one
    await one.close()
