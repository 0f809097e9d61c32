"""Answers that are sent piece by piece, for as long as there is something to send and somebody to take it."""

import asyncio
from collections.abc import AsyncGenerator

from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from ragrid.errors import RagridError
from ragrid.services.memory.api.answers import is_refusal, problem_of

#: Whoever takes nothing on for so long is gone, seconds: what is held for them is let go.
STALL_S = 60.0


class Streamed:
    """Sends what `pieces` yields. What it raises before its first piece is an answer; later it cuts the connection."""

    def __init__(self, pieces: AsyncGenerator[bytes, None], *, media_type: str, stall_s: float = STALL_S) -> None:
        self._pieces = pieces
        self._stall_s = stall_s
        self._media_type = media_type

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, until it ends or the caller goes away; `pieces` is closed then."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(self._stall_s):
                await send(message)

        # Told to the gateway as well: each piece goes out as it comes, and nothing is kept there.
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        try:
            first = await self._first()
            response = StreamingResponse(self._all(first), headers=headers, media_type=self._media_type)
            await response(scope, receive, send_in_time)
        finally:
            await self._pieces.aclose()

    async def _first(self) -> bytes:
        try:
            return await anext(self._pieces, b"")
        except RagridError as error:
            if is_refusal(error):
                raise problem_of(error) from error
            raise

    async def _all(self, first: bytes) -> AsyncGenerator[bytes, None]:
        yield first
        async for piece in self._pieces:
            yield piece
