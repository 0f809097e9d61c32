"""What is streamed is let go when nobody takes it on, and refused properly before it begins."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from ragrid.services.memory.api.streaming import Streamed
from ragrid.services.memory.errors import StoreBusyError
from ragrid.web.problem import Problem

SCOPE: dict[str, Any] = {"type": "http", "asgi": {"spec_version": "2.3"}, "method": "GET", "headers": []}


class Pieces:
    """Pieces without end, and whether they were let go."""

    def __init__(self) -> None:
        self.is_closed = False

    async def all(self) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"x"
        finally:
            self.is_closed = True


async def never() -> Any:
    await asyncio.Event().wait()


async def test_who_takes_nothing_on_is_let_go() -> None:
    pieces = Pieces()
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)
        if len(sent) == 3:
            await never()

    with pytest.raises(TimeoutError):
        await Streamed(pieces.all(), media_type="text/plain", stall_s=0.01)(SCOPE, never, send)
    assert pieces.is_closed
    assert [one["type"] for one in sent] == ["http.response.start"] + ["http.response.body"] * 2


async def test_who_goes_away_is_let_go() -> None:
    pieces = Pieces()
    gone = asyncio.Event()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            gone.set()
            await asyncio.sleep(0)

    async def receive() -> Any:
        await gone.wait()
        return {"type": "http.disconnect"}

    await Streamed(pieces.all(), media_type="text/plain")(SCOPE, receive, send)
    assert pieces.is_closed


async def test_a_refusal_before_the_first_piece_is_an_answer() -> None:
    async def refused() -> AsyncGenerator[bytes, None]:
        if SCOPE:
            raise StoreBusyError("too many; try again later")
        yield b""

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    with pytest.raises(Problem) as problem:
        await Streamed(refused(), media_type="text/plain")(SCOPE, never, send)
    assert (problem.value.status, problem.value.code, sent) == (503, "overloaded", [])
