"""Brings a database to this release's tables, once, whoever else starts at the same time."""

import logging

import asyncpg

from ragrid.errors import StateError
from ragrid.services.memory.postgresql.schema import MIGRATION_LOCK, MIGRATIONS, SCHEMA

logger = logging.getLogger(__name__)

#: Row-level security, `ON CONFLICT` and all else that is used are older; 15 is the oldest that is tested.
OLDEST_SERVER = 15

#: How long a migration may take, another replica's that is waited for included, seconds.
PATIENCE_S = 3600

_BYPASSES = "SELECT current_user, rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"


async def prepare(connection: asyncpg.Connection) -> None:
    """Check the server and the role, then run the migrations that are missing, all in one transaction.

    A second replica that starts meanwhile waits and then finds nothing to do. Raises StateError for an old server, a
    role that row-level security does not bind, and a database of a newer release.
    """
    if connection.get_server_version().major < OLDEST_SERVER:
        found = connection.get_server_version().major
        raise StateError(f"the PostgreSQL server is version {found}, wanted {OLDEST_SERVER} or newer; upgrade it")
    row = await connection.fetchrow(_BYPASSES)
    role, bypasses = row or ("?", True)
    if bypasses:
        raise StateError(
            f"role {role!r} is not bound by row-level security, which keeps tenants apart in the server; connect as a "
            "role without SUPERUSER and BYPASSRLS that owns the database"
        )
    async with connection.transaction():
        await connection.execute("SET LOCAL statement_timeout = 0")
        await connection.execute(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})", timeout=PATIENCE_S)
        await _migrate(connection)


async def _migrate(connection: asyncpg.Connection) -> None:
    if not await connection.fetchval("SELECT to_regnamespace($1) IS NOT NULL", SCHEMA):
        await connection.execute(f"CREATE SCHEMA {SCHEMA}")
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS migration (number integer PRIMARY KEY, made_at timestamptz NOT NULL DEFAULT now())"
    )
    done = await connection.fetchval("SELECT coalesce(max(number), 0) FROM migration")
    if done > len(MIGRATIONS):
        raise StateError(
            f"the database was made by a newer ragrid (schema {done}, known {len(MIGRATIONS)}); run that version again"
        )
    for number, statements in enumerate(MIGRATIONS[done:], start=done + 1):
        await connection.execute(statements, timeout=PATIENCE_S)
        await connection.execute("INSERT INTO migration (number) VALUES ($1)", number)
        logger.info("store migrated", extra={"schema": number})
