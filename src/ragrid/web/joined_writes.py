"""Sends the head and the body of an answer at once.

uvicorn writes them one after the other, and each write is a call to the kernel and a packet to the caller, who wakes up
for both: that was a fifth of what an answer of the memory service cost.
"""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: What is written is held back no longer than until so much is there, bytes: enough for almost any whole answer.
HELD_BYTES = 64 * 1024


class JoinedWrites:
    """A transport that sends together what is written within one round of the event loop; all else is `transport`'s."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self._held_bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send `data` at the end of this round, or now when much is waiting."""
        if not data:
            return
        if not self._parts:
            self._loop.call_soon(self._send)
        self._parts.append(data)
        self._held_bytes += len(data)
        if self._held_bytes >= HELD_BYTES:
            self._send()

    def close(self) -> None:
        """Send what waits, then close."""
        self._send()
        self._transport.close()

    def _send(self) -> None:
        parts, self._parts, self._held_bytes = self._parts, [], 0
        if parts and not self._transport.is_closing():
            self._transport.write(b"".join(parts))


class JoiningProtocol(HttpToolsProtocol):
    """uvicorn's HTTP over JoinedWrites."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it, too
        """See asyncio.Protocol."""
        super().connection_made(cast("asyncio.Transport", JoinedWrites(transport, self.loop)))
