"""Opens the store that the settings name, while the service listens already."""

import asyncio
import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING

from ragrid.errors import MissingError, StateError
from ragrid.services.memory.errors import StoreBrokenError
from ragrid.services.memory.sqlite.store import SqliteStore, lock_directory
from ragrid.spec.settings import MemorySettings
from ragrid.web.progress import Progress

if TYPE_CHECKING:
    from ragrid.services.memory.postgresql.store import PostgresStore

logger = logging.getLogger(__name__)

#: At a start, a database that is starting, too, is waited for, seconds; then the supervisor tries again.
DATABASE_WAIT_S = 60.0
DATABASE_RETRY_S = 0.25


def lock_store(settings: MemorySettings) -> contextlib.ExitStack:
    """Return what holds the file of the settings for this process alone; nothing for a store that many may have.

    Raises ConflictError at once when another process has it.
    """
    return contextlib.ExitStack() if settings.store == "postgresql" else lock_directory(settings.data_directory)


async def open_store(
    settings: MemorySettings, progress: Progress, lock: contextlib.ExitStack
) -> "SqliteStore | PostgresStore":
    """Return the store of the settings, which `lock` holds; `progress` tells how far that is, and may end it.

    Raises StateError when the file is damaged or not ours, or when it was ended, and what `open_shared_store` does.
    """
    if settings.store == "postgresql":
        return await open_shared_store(settings, progress)
    opening = partial(
        SqliteStore.open,
        settings.data_directory,
        max_bytes=settings.max_store_bytes,
        vector_cache_bytes=settings.vector_cache_bytes,
        backups_kept=settings.backups_kept,
        progress=progress,
        lock=lock,
    )
    return await asyncio.to_thread(opening)


async def open_shared_store(settings: MemorySettings, progress: Progress) -> "PostgresStore":
    """Return the store in PostgreSQL, waiting for a database that is starting.

    Raises StateError for settings without an address or with `max_store_bytes`, and for a database that is not ours,
    StoreBrokenError when it is silent for too long, and MissingError when asyncpg is not installed.
    """
    try:
        from ragrid.services.memory.postgresql.store import PostgresStore  # noqa: PLC0415 - only these grids need asyncpg
    except ImportError as error:
        raise MissingError(f"store postgresql: {error}; run `pip install 'ragrid[postgres]'`") from error
    if settings.max_store_bytes is not None:
        wanted = "wanted none with postgresql: bound namespaces by quotas, or the server by its disk"
        raise StateError(f"max_store_bytes: got {settings.max_store_bytes}, {wanted}")
    address = _address(settings)
    waited_s = 0.0
    while True:
        try:
            return await PostgresStore.open(address, vector_cache_bytes=settings.vector_cache_bytes)
        except StoreBrokenError as error:
            if waited_s >= DATABASE_WAIT_S:
                raise
            if waited_s == 0.0:
                logger.info("waiting for the database", extra={"reason": str(error)})
                progress.begin("waiting for the database")
        await asyncio.sleep(DATABASE_RETRY_S)
        waited_s += DATABASE_RETRY_S


def _address(settings: MemorySettings) -> str:
    file = settings.database_url_file
    if file is None:
        raise StateError("store: got postgresql without database_url_file, wanted the file with the database's address")
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise StateError(f"{file}: {error.strerror}; wanted the address of a database") from error
