"""Extensions that a service uses and only a superuser may make, on a server that has pgvector."""

from pathlib import Path
from typing import Any

import asyncpg

from ragrid.services.database.accounts import ensure_accounts, ensure_extensions
from ragrid.spec.settings import DatabaseAccount
from support.postgresql import Cluster


async def test_what_the_server_has_is_made_in_new_databases_alone(pgvector_cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("x" * 43)
    accounts = tuple(
        DatabaseAccount(name=name, password_file=tmp_path / "password", extensions=extensions)
        for name, extensions in (("with_vectors", ("vector", "no-such-extension")), ("without", ()))
    )
    superuser = await asyncpg.connect(pgvector_cluster.dsn())
    await ensure_accounts(superuser, accounts)
    await superuser.close()

    async def connect(database: str) -> "asyncpg.Connection[asyncpg.Record]":
        return await asyncpg.connect(pgvector_cluster.dsn(database))

    for _ in range(2):  # as at every start of the server
        await ensure_extensions(connect, accounts)
        assert _extensions(pgvector_cluster, "with_vectors") == "vector"
        assert _extensions(pgvector_cluster, "without") == ""
    # What an account made there could turn the extension's script to its own ends.
    pgvector_cluster.sql("DROP EXTENSION vector", "with_vectors")
    await _as(pgvector_cluster, "CREATE SCHEMA mine")
    await ensure_extensions(connect, accounts)
    assert _extensions(pgvector_cluster, "with_vectors") == ""


def _extensions(cluster: Cluster, database: str) -> str:
    return cluster.sql("SELECT extname FROM pg_extension WHERE extname <> 'plpgsql'", database)


async def _as(cluster: Cluster, statement: str) -> None:
    connection: Any = await asyncpg.connect(cluster.dsn("with_vectors", user="with_vectors"))
    await connection.execute(statement)
    await connection.close()
