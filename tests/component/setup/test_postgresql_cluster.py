"""The tests' own PostgreSQL: every test an empty database, what was committed survives a crash, nothing is left."""

import asyncio
import os
from pathlib import Path

import asyncpg
import psutil
import pytest

from support.postgresql import Cluster


async def execute(dsn: str, *statements: str) -> list[object]:
    connection = await asyncpg.connect(dsn)
    try:
        return [await connection.fetchval(statement) for statement in statements]
    finally:
        await connection.close()


def test_a_database_is_empty_and_synced_to_disk(postgresql_database: str) -> None:
    tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    assert asyncio.run(execute(postgresql_database, tables, "SHOW fsync", "SHOW synchronous_commit")) == [0, "on", "on"]


def test_what_was_committed_survives_a_crash_and_the_end_leaves_nothing() -> None:
    cluster = Cluster()
    try:
        cluster.make()
        cluster.start()
        assert psutil.Process(cluster.pid).uids().effective != 0 or os.geteuid() != 0
        database = cluster.dsn(cluster.create_database())
        asyncio.run(execute(database, "CREATE TABLE kept (number int)", "INSERT INTO kept VALUES (7)"))
        cluster.crash()
        with pytest.raises(OSError, match=r"Connect|No such file"):
            asyncio.run(execute(database, "SELECT 1"))
        cluster.start()
        assert asyncio.run(execute(database, "SELECT number FROM kept")) == [7]
        pid = cluster.pid
    finally:
        cluster.remove()
    assert not psutil.pid_exists(pid)
    assert not Path(cluster.directory).exists()
