"""Puts the database together: the server as a child of this process, and three pages about it."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ragrid.errors import RagridError, UnreachableError
from ragrid.services.database.accounts import ensure_accounts, ensure_extensions
from ragrid.services.database.cluster import Cluster
from ragrid.services.database.monitor import FAILURES, Monitor, Page, Seen
from ragrid.spec.settings import DatabaseSettings, Listen
from ragrid.web.problem import Problem

logger = logging.getLogger(__name__)

NAME = "postgresql"
#: Closing the database writes what lies in memory; cut short, the next start does more.
STOP_GRACE_S = 20.0
#: Between two looks at the certificate's files, seconds.
CERTIFICATE_LOOK_S = 2.0
#: Between two tries to reach a server that is starting, and may be recovering from a crash, seconds.
_RETRY_S = 0.1


def build(settings: DatabaseSettings) -> tuple[Starlette, Listen]:
    """Return the application and its address; the database's files are made at once when there are none.

    Raises StateError for files of another version, or when they cannot be made.
    """
    cluster = Cluster(settings)
    if cluster.make():
        logger.info("files made", extra={"directory": str(cluster.files)})
    return Keeper(settings, cluster).application(), settings.listen


class Keeper:
    """Keeps the server running as long as the application lives; when the server ends by itself, so does all."""

    def __init__(self, settings: DatabaseSettings, cluster: Cluster) -> None:
        self._settings = settings
        self._cluster = cluster
        self._is_prepared = False
        names = tuple(account.name for account in settings.accounts)
        self._monitor = Monitor(settings.run_directory, settings.port, names)

    def application(self) -> Starlette:
        """Return /healthz, /readyz and /metrics."""
        routes = [Route("/healthz", self._healthz), Route("/readyz", self._readyz), Route("/metrics", self._metrics)]
        return Starlette(routes=routes, lifespan=self._lifespan)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _application: Starlette) -> AsyncIterator[None]:
        self._cluster.start()
        tasks = [asyncio.create_task(one) for one in (self._watch(), self._prepare(), self._follow_certificate())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await self._monitor.close()
            await asyncio.to_thread(self._cluster.stop, grace_s=STOP_GRACE_S)
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self) -> None:
        """End this process when the server ends; whoever supervises it starts both again."""
        status = await asyncio.to_thread(self._cluster.wait)
        logger.critical("the server has ended", extra={"status": status})
        os.kill(os.getpid(), signal.SIGTERM)

    async def _prepare(self) -> None:
        """Make roles and databases once the server answers."""
        logger.info("waiting for the server")
        while not self._is_prepared:
            try:
                await ensure_accounts(await self._monitor.connected(), self._settings.accounts)
                await ensure_extensions(self._monitor.connect, self._settings.accounts)
                self._is_prepared = True
                logger.info("the server answers")
            except FAILURES:  # it is starting; its own lines are in the log
                await asyncio.sleep(_RETRY_S)
            except RagridError as error:
                logger.critical("accounts cannot be made", extra={"reason": str(error)})
                os.kill(os.getpid(), signal.SIGTERM)
                return

    async def _follow_certificate(self) -> None:
        while True:
            await asyncio.sleep(CERTIFICATE_LOOK_S)
            try:
                if await asyncio.to_thread(self._cluster.follow_certificate):
                    logger.info("another certificate is shown")
            except OSError as error:  # the one that is shown goes on; it is looked at again
                logger.warning("the certificate cannot be read", extra={"reason": str(error)})

    async def _look(self) -> Seen:
        if not self._is_prepared:
            raise UnreachableError("the database server is starting")
        return await self._monitor.look()

    async def _healthz(self, _: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def _readyz(self, _: Request) -> Response:
        try:
            seen = await self._look()
        except UnreachableError as error:
            return Problem(503, "not-ready", str(error)).response()
        if not seen.is_writable:
            return Problem(503, "not-ready", "the database server takes no writes: it is recovering").response()
        return JSONResponse({"version": seen.version, "databases": [one["datname"] for one in seen.databases]})

    async def _metrics(self, _: Request) -> Response:
        seen: Seen | RagridError
        try:
            seen = await self._look()
        except UnreachableError as error:
            seen = error
        registry = CollectorRegistry(auto_describe=False)
        registry.register(Page(seen))
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
