"""Whether this server can keep an index of vectors (pgvector), and what that takes: extension, tables, indexes."""

from collections.abc import Mapping

import asyncpg

from ragrid.services.memory.embedding.sources import brought_number
from ragrid.services.memory.postgresql import nearest_statements as statements
from ragrid.services.memory.postgresql.migrate import PATIENCE_S
from ragrid.services.memory.postgresql.schema import MIGRATION_LOCK, fence

#: Scans that go on until enough rows met the filter came with it: https://github.com/pgvector/pgvector#iterative-index-scans
OLDEST = (0, 8)
_WANTED = "pgvector 0.8 or newer"
#: Where statements look for the extension's types.
_SCHEMAS = ("public", "pg_catalog")
#: Whoever makes an index holds this advisory lock: "RGVI".
INDEX_LOCK = 0x52475649
#: An index that is made in memory is made several times as fast; 256 MB hold 200,000 vectors of 384 members.
_MAKE = ("SET LOCAL statement_timeout = 0", "SET LOCAL maintenance_work_mem = '256MB'")
#: Removing an index waits for searches under way, and holds up those that come behind it.
_REMOVE = "SET LOCAL lock_timeout = '2s'"


class NoIndexError(Exception):
    """This server keeps no index of vectors; the text says why, and what to do."""


async def prepare(connection: asyncpg.Connection) -> str:
    """Make the tables where they are missing; return the extension's version. Raises NoIndexError with the reason."""
    version = await _extension(connection)
    async with connection.transaction():
        await connection.execute(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})", timeout=PATIENCE_S)
        if not await connection.fetchval(statements.IS_MADE):
            await connection.execute(statements.MAKE + fence("memory_nearest"))
    return version


async def models_in_use(connection: asyncpg.Connection) -> dict[int, int]:
    """Return number and dimension of each model whose vectors an index can hold."""
    rows = await connection.fetch(statements.MODELS)
    return {row["number"]: row["dimension"] for row in rows}


async def brought_models(connection: asyncpg.Connection) -> dict[int, int]:
    """Return number and dimension of the models that callers brought, where the index has vectors of them."""
    return {row["model"]: -row["model"] for row in await connection.fetch(statements.BROUGHT)}


def indexable(dimension: int | None) -> dict[int, int]:
    """Return number and dimension of a namespace's own vectors, where it has any and an index can hold them."""
    if dimension is None or dimension > statements.DIMENSION_LIMIT:
        return {}
    return {brought_number(dimension): dimension}


async def index_models(connection: asyncpg.Connection, models: Mapping[int, int]) -> frozenset[int]:
    """Make the indexes of `models` that are missing, and remove those of others; return the models that have one.

    To make one over many rows takes minutes, and nobody waits for it who does not want to make one, too.
    """
    wanted = {statements.index_name(model): model for model in models}
    there = {row[0] for row in await connection.fetch(statements.INDEXES)}
    for name in sorted(set(wanted) - there):
        async with connection.transaction():
            for setting in _MAKE:
                await connection.execute(setting)
            await connection.execute(f"SELECT pg_advisory_xact_lock({INDEX_LOCK})", timeout=PATIENCE_S)
            model = wanted[name]
            await connection.execute(statements.create_index(model, models[model]), timeout=PATIENCE_S)
    for name in sorted(there - set(wanted)):
        async with connection.transaction():
            await connection.execute(_REMOVE)
            await connection.execute(f"DROP INDEX IF EXISTS {name}")
    return frozenset(models)


async def _extension(connection: asyncpg.Connection) -> str:
    """Return the version of the extension, made here where that is allowed."""
    row = await connection.fetchrow(statements.EXTENSION)
    if row is None:
        raise NoIndexError(f"the server has no pgvector, wanted {_WANTED}; install it there for an index of vectors")
    version: str = row["version"]
    if _numbers(version) < OLDEST:
        hint = "; ALTER EXTENSION vector UPDATE" if row["is_here"] else ""
        raise NoIndexError(f"the server has pgvector {version}, wanted {_WANTED}; upgrade it{hint}")
    if not row["is_here"]:
        try:
            await connection.execute(statements.CREATE_EXTENSION)
        except asyncpg.InsufficientPrivilegeError as error:
            reason = "the server has pgvector, and this role may not create it"
            raise NoIndexError(f"{reason}; as a superuser: CREATE EXTENSION vector") from error
    elif row["schema"] not in _SCHEMAS:
        wanted = "wanted public; ALTER EXTENSION vector SET SCHEMA public"
        raise NoIndexError(f"the extension vector is in schema {row['schema']!r}, {wanted}")
    try:
        await connection.execute(statements.TRY_LIBRARY)
    except asyncpg.PostgresError as error:
        raise NoIndexError(f"the extension vector does not work ({error}); mend it on the server") from error
    return version


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
