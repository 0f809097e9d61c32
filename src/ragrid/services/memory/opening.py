"""A store of several replicas: opened in the event loop that then serves it, once its database answers."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Receive, Scope, Send

from ragrid.errors import MissingError, RagridError, StateError
from ragrid.services.memory.errors import StoreBrokenError
from ragrid.spec.settings import MemorySettings

if TYPE_CHECKING:
    from ragrid.services.memory.postgresql.store import PostgresStore

logger = logging.getLogger(__name__)

#: At a start, a database that is starting, too, is waited for, seconds; then the supervisor tries again.
DATABASE_WAIT_S = 60.0
DATABASE_RETRY_S = 0.25


class OpenedAtStart:
    """ASGI: makes the application when the server starts, and is it from then on.

    When it cannot be made, the server hears that it did not start, and the log says why.
    """

    def __init__(self, make: Callable[[], Awaitable[ASGIApp]]) -> None:
        self._make = make
        self._application: ASGIApp | None = None
        #: What the server calls when it begins to stop.
        self.on_stop = (self._stop,)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if self._application is None:
            try:
                self._application = await self._make()
            except RagridError as error:
                logger.critical("the store cannot be opened", extra={"reason": str(error)})
                await receive()  # the server's word to start
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
        await self._application(scope, receive, send)

    def _stop(self) -> None:
        for stop in getattr(self._application, "on_stop", ()):
            stop()


async def open_shared_store(settings: MemorySettings) -> "PostgresStore":
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
