"""Serves from the first moment, while a store is still being opened: says what is done, and how far that is.

A store of a million rows is migrated for the better part of a minute. Whoever waits for it is to see that it goes on,
whoever asks for something else is to come back, and nobody is to take it for hung.
"""

import asyncio
import contextlib
import gc
import logging
from collections.abc import Awaitable, Callable

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ragrid.errors import RagridError
from ragrid.web.application import Observed
from ragrid.web.metrics import RequestMetrics
from ragrid.web.problem import Problem
from ragrid.web.progress import Progress

logger = logging.getLogger(__name__)

#: When a caller is to come back, seconds.
RETRY_AFTER_S = "2"


class OpenedWhileServing:
    """ASGI: makes the application beside the server's work, and is it once it is made.

    Until then `/healthz` and `/metrics` answer; `/readyz` is 503 and tells the progress, and so is everything else,
    with Retry-After. When the application cannot be made, `failure` says why, which ends the server.
    """

    def __init__(
        self, make: Callable[[Progress], Awaitable[Starlette]], *, name: str, progress: Progress | None = None
    ) -> None:
        self._make = make
        self._progress = progress or Progress()
        self._application: Starlette | None = None
        self._waiting = _Waiting(name, self._progress).observed()
        self._is_over = asyncio.Event()
        self.failure: RagridError | None = None
        #: What the server calls when it begins to stop.
        self.on_stop = (self._stop,)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await (self._application or self._waiting)(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()  # the server's word to start
        opening = asyncio.create_task(self._open(), name="opening")
        await send({"type": "lifespan.startup.complete"})
        await receive()  # and to stop
        self._is_over.set()
        self._progress.stop()
        if self._application is None:
            opening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await opening
        await send({"type": "lifespan.shutdown.complete"})

    async def _open(self) -> None:
        try:
            application = await self._make(self._progress)
            async with application.router.lifespan_context(application):
                gc.collect()
                gc.freeze()  # as the server does with what is there when it starts
                self._application = application
                await self._is_over.wait()
        except RagridError as error:
            self._fail(error)
        except Exception as error:  # the boundary of a task: without this, the server would refuse for ever
            logger.exception("the store was not opened")
            self._fail(RagridError(f"unexpected fault ({type(error).__name__}); see the traceback in the log"))

    def _fail(self, error: RagridError) -> None:
        if not self._is_over.is_set():
            self.failure = error

    def _stop(self) -> None:
        for stop in getattr(self._application, "on_stop", ()):
            stop()


class _Waiting:
    """ASGI: what is answered until there is something to answer with. No token is looked at: nothing is told."""

    def __init__(self, name: str, progress: Progress) -> None:
        self._progress = progress
        self._requests = RequestMetrics(name)

    def observed(self) -> ASGIApp:
        """Return it with what surrounds every service of ours: problem details, request ids, counters."""
        return Observed(self, self._requests)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        match scope["path"]:
            case "/healthz":
                answer = Response(msgspec.json.encode({"status": "alive"}), media_type="application/json")
            case "/metrics":
                page = generate_latest() + generate_latest(self._requests.registry)
                answer = Response(page, media_type=CONTENT_TYPE_LATEST)
            case path:
                raise self._refusal("not-ready" if path == "/readyz" else "store-unavailable")
        await answer(scope, receive, send)

    def _refusal(self, code: str) -> Problem:
        members = {"progress": self._progress.document()}
        return Problem(503, code, str(self._progress), headers={"Retry-After": RETRY_AFTER_S}, members=members)
