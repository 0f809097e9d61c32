"""Puts the memory service together: settings in, application out; the store lives as long as the application does."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette

from ragrid.identity.open import open_verifier
from ragrid.identity.verify import TokenVerifier
from ragrid.services.memory.api.routes import MemoryApi
from ragrid.services.memory.embedding.meaning import Meaning, open_meaning
from ragrid.services.memory.metrics import FEED_WAITING, VECTOR_CACHE_BYTES, WRITE_QUEUE_DEPTH
from ragrid.services.memory.opening import lock_store, open_store
from ragrid.services.memory.protocol.store import MemoryStore
from ragrid.services.memory.recall import Recall
from ragrid.services.memory.sqlite.store import SqliteStore
from ragrid.services.memory.sweeping import SteadyTime, sweep
from ragrid.services.memory.tools.endpoint import ToolEndpoint
from ragrid.spec.settings import Listen, MemorySettings
from ragrid.system.clock import Clock, SystemClock
from ragrid.web.application import build_application
from ragrid.web.opening import OpenedWhileServing
from ragrid.web.progress import Progress

if TYPE_CHECKING:
    from ragrid.services.memory.postgresql.store import PostgresStore

logger = logging.getLogger(__name__)

#: How often expired memories are swept and the store is measured, seconds.
HOUSEKEEPING_S = 5.0


def build(
    settings: MemorySettings, *, clock: Clock | None = None, progress: Progress | None = None
) -> tuple[OpenedWhileServing, Listen]:
    """Return the application, which opens the store while it is served, with the address to serve it on.

    The store is locked before this returns; raises ConflictError when another process has it. The application's
    `failure` is what `open_store` raises. `progress` hears how far the opening is.
    """
    clock = clock or SystemClock()
    verifier = open_verifier(settings.trust, clock)
    lock = lock_store(settings)

    async def make(progress: Progress) -> Starlette:
        return _application(await open_store(settings, progress, lock), settings, verifier, clock)

    return OpenedWhileServing(make, name="memory", progress=progress), settings.listen


def _application(
    store: "SqliteStore | PostgresStore", settings: MemorySettings, verifier: TokenVerifier, clock: Clock
) -> Starlette:
    WRITE_QUEUE_DEPTH.set_function(lambda: store.waiting_writes)
    VECTOR_CACHE_BYTES.set_function(lambda: store.vector_cache.size_bytes)
    meaning = open_meaning(store, settings, clock)
    return build_memory_application(store, verifier, clock, prefix=settings.public_prefix, meaning=meaning)


def build_memory_application(
    store: MemoryStore, verifier: TokenVerifier, clock: Clock, *, prefix: str, meaning: Meaning | None = None
) -> Starlette:
    """Return the application over any store; it owns the store from its start on and closes it at its end.

    Without `meaning`, it searches by words, and by vectors that callers bring.
    """
    api = MemoryApi(store, clock, prefix=prefix, recall=Recall(store, meaning))
    tools = ToolEndpoint(api.operations)

    FEED_WAITING.set_function(lambda: len(store.watches))

    @contextlib.asynccontextmanager
    async def lifespan(_application: Starlette) -> AsyncIterator[None]:
        keeping = asyncio.create_task(_keep_house(store, clock))
        if meaning is not None:
            meaning.start()
        try:
            yield
        finally:
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping
            await tools.close()
            await api.close()
            if meaning is not None:
                await meaning.close()
            await store.close()

    async def readiness() -> Mapping[str, Any]:
        await store.probe()
        if meaning is not None:
            meaning.worker.check()
        stats = await store.stats()
        ways = {} if stats.nearest is None else {"nearest": stats.nearest}
        return {"store": "ok", "memories": stats.rows, **ways}

    routes = [*api.routes(), tools.route()]
    return build_application(
        routes, verifier=verifier, readiness=readiness, name="memory", lifespan=lifespan, on_stop=(store.watches.close,)
    )


async def _keep_house(store: MemoryStore, clock: Clock) -> None:
    """Sweep and measure the store, for ever."""
    time = SteadyTime(clock)
    while True:
        await sweep(store, time)
        await asyncio.sleep(HOUSEKEEPING_S)
