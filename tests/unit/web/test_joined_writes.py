"""Head and body of an answer leave in one write; nothing is held back for long, lost at the end, or sent after it."""

import asyncio
from typing import Any, cast

import pytest

from ragrid.web.joined_writes import HELD_BYTES, JoinedWrites


class RecordingTransport:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.is_gone = False

    def write(self, data: bytes) -> None:
        self.told.append(data)

    def close(self) -> None:
        self.told.append("closed")
        self.is_gone = True

    def is_closing(self) -> bool:
        return self.is_gone

    def get_extra_info(self, name: str) -> str:
        return f"the {name}"


@pytest.fixture
def below() -> RecordingTransport:
    return RecordingTransport()


@pytest.fixture
async def joined(below: RecordingTransport) -> JoinedWrites:
    return JoinedWrites(cast("asyncio.Transport", below), asyncio.get_running_loop())


async def _a_round() -> None:
    """Let the loop come round once."""
    await asyncio.sleep(0)


async def test_head_and_body_are_one_write(below: RecordingTransport, joined: JoinedWrites) -> None:
    for data in (b"head", b"", b"body"):
        joined.write(data)
    assert below.told == []
    await _a_round()
    assert below.told == [b"headbody"]
    joined.write(b"next")
    await _a_round()
    await _a_round()
    assert below.told == [b"headbody", b"next"]


async def test_much_is_sent_at_once(below: RecordingTransport, joined: JoinedWrites) -> None:
    joined.write(b"head")
    joined.write(b"x" * HELD_BYTES)
    assert below.told == [b"head" + b"x" * HELD_BYTES]
    joined.write(b"rest")
    await _a_round()
    assert below.told[1:] == [b"rest"]


async def test_what_waits_is_sent_before_the_end(below: RecordingTransport, joined: JoinedWrites) -> None:
    joined.write(b"last")
    joined.close()
    await _a_round()
    assert below.told == [b"last", "closed"]


async def test_nothing_is_sent_to_who_has_gone(below: RecordingTransport, joined: JoinedWrites) -> None:
    joined.write(b"too late")
    below.is_gone = True
    await _a_round()
    assert below.told == []


async def test_all_else_is_the_transports(joined: JoinedWrites) -> None:
    assert joined.get_extra_info("peername") == "the peername"
