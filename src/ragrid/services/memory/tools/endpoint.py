"""`/mcp`: the tools over streamable HTTP. Each request says by its token who calls, so any instance answers it."""

import asyncio
import importlib
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ragrid.services.memory.api.operation import Operation
from ragrid.web.auth import require

PATH = "/mcp"
_PROTOCOL = "ragrid.services.memory.tools.protocol"


class ToolEndpoint:
    """An ASGI application that loads the protocol with the first request, in a thread, and ends it with `close`.

    Reading is what every caller needs; what a tool needs beyond that, its operation asks for.
    """

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._operations = tuple(operations)
        self._loading = asyncio.Lock()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._protocol: ASGIApp | None = None

    def route(self) -> Route:
        """Return the one route. There is no stream to open with GET and no session to end with DELETE: 405."""
        return Route(PATH, self, methods=["POST"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request of the protocol."""
        require(Request(scope), "memory:read")
        protocol = self._protocol or await self._load()
        await protocol(scope, receive, send)

    async def close(self) -> None:
        """End the protocol, if it was ever loaded."""
        self._closing.set()
        if self._task is not None:
            await self._task

    async def _load(self) -> ASGIApp:
        async with self._loading:
            if self._protocol is None:
                module = await asyncio.to_thread(importlib.import_module, _PROTOCOL)
                started: asyncio.Future[ASGIApp] = asyncio.get_running_loop().create_future()
                # One task enters and leaves: the SDK's task group wants that.
                self._task = asyncio.create_task(self._serve(module.served(self._operations), started))
                await asyncio.wait((self._task, started), return_when=asyncio.FIRST_COMPLETED)
                if self._task.done():
                    await self._task  # it can only have failed
                self._protocol = started.result()
            return self._protocol

    async def _serve(self, served: AbstractAsyncContextManager[ASGIApp], started: asyncio.Future[ASGIApp]) -> None:
        async with served as protocol:
            started.set_result(protocol)
            await self._closing.wait()
