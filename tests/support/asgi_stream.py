"""One GET whose answer does not end by itself, sent straight to an application: its body is read piece by piece."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message

#: Nothing here waits for anything but the machine.
PATIENCE_S = 30.0


class AsgiStream:
    """An answer under way: its status, its headers, and its pieces as they come; b"" is its end."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.is_left = asyncio.Event()
        self.status = 0
        self.headers: dict[str, str] = {}

    async def piece(self) -> bytes:
        """Return the next piece of the body."""
        message = await asyncio.wait_for(self.messages.get(), PATIENCE_S)
        body: bytes = message.get("body", b"")
        return body

    async def until(self, mark: bytes) -> bytes:
        """Return all that comes up to the piece in which `mark` is seen."""
        seen = b""
        while mark not in seen:
            piece = await self.piece()
            assert piece, f"ended before {mark!r}: {seen!r}"
            seen += piece
        return seen


@contextlib.asynccontextmanager
async def open_stream(application: ASGIApp, url: str, headers: Mapping[str, str]) -> AsyncIterator[AsgiStream]:
    """Send the request and go away at the end of the block; the application must have ended by then."""
    parts = urlsplit(url)
    stream = AsgiStream()
    asked = asyncio.Event()

    async def receive() -> Message:
        if not asked.is_set():
            asked.set()
            return {"type": "http.request", "body": b"", "more_body": False}
        await stream.is_left.wait()
        return {"type": "http.disconnect"}

    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": parts.path,
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "server": ("memory", 80),
        "client": ("127.0.0.1", 1),
    }

    async def run() -> None:
        await application(scope, receive, stream.messages.put)

    running = asyncio.create_task(run())
    try:
        start = await asyncio.wait_for(stream.messages.get(), PATIENCE_S)
        stream.status = start["status"]
        stream.headers = {name.decode(): value.decode() for name, value in start["headers"]}
        yield stream
    finally:
        stream.is_left.set()
        await asyncio.wait_for(running, PATIENCE_S)
