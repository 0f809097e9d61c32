"""The change feed of the real process: followed across kills, ended in order, nobody polls."""

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import msgspec

from support.memory_calls import Caller
from support.memory_process import MemoryProcess

CHANGES = "/memory/v1/changes"
#: How often the service is killed under the follower; RAGRID_KILLS=50 is the long proof.
KILLS = int(os.environ.get("RAGRID_KILLS", "2"))
#: With fewer writes, a round proves nothing.
WRITES_A_ROUND = 100


class Follower:
    """A client as browsers are: it comes back with the id of the last event that it has seen whole."""

    def __init__(self, client: httpx.AsyncClient, token: str) -> None:
        self._client = client
        self._headers = {"authorization": f"Bearer {token}"}
        self.seen: list[dict[str, Any]] = []
        self.ends: list[str] = []

    @property
    def last(self) -> int:
        return int(self.seen[-1]["seq"]) if self.seen else 0

    async def follow(self) -> None:
        """Follow for ever."""
        while True:
            with contextlib.suppress(httpx.TransportError):
                await self.follow_once()
            await asyncio.sleep(0.02)

    async def follow_once(self) -> None:
        """Follow until the stream ends or breaks."""
        headers = {**self._headers, "last-event-id": str(self.last)}
        async with self._client.stream("GET", f"{CHANGES}/stream", headers=headers) as answer:
            if answer.status_code == 503 and "retry-after" in answer.headers:
                return  # it listens, and its store is not open yet
            assert answer.status_code == 200
            async for block in _blocks(answer):
                if block.get("event") == "change":
                    self.seen.append(msgspec.json.decode(block["data"]))
                elif block.get("event") == "end":
                    self.ends.append(msgspec.json.decode(block["data"])["reason"])


async def _blocks(answer: httpx.Response) -> AsyncIterator[dict[str, str]]:
    block: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            block[name] = value
        elif block:
            yield block
            block = {}


async def _write(caller: Caller, made: set[str], numbers: Iterator[int], written: asyncio.Semaphore) -> None:
    while True:
        name = f"k{next(numbers)}"
        try:
            answer = await caller.call("PUT", f"/{name}", json={"content": name})
        except httpx.TransportError:
            return
        assert answer.status_code == 201, answer.text
        made.add(name)
        written.release()


async def _pages(caller: Caller) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = []
    has_more, since = True, 0
    while has_more:
        body = (await caller.call("GET", params={"since": since, "limit": 500})).json()
        seen += body["changes"]
        since, has_more = body["next_since"], body["has_more"]
    return seen


async def test_a_follower_misses_nothing_and_sees_nothing_twice_across_kill_9(
    service: MemoryProcess, client: httpx.AsyncClient
) -> None:
    alice = service.caller(client)
    feed = service.caller(client)
    feed.base = CHANGES
    follower = Follower(client, service.mint.token())
    following = asyncio.create_task(follower.follow())
    made: set[str] = set()
    numbers = itertools.count()
    for _ in range(KILLS):
        written = asyncio.Semaphore(0)
        writers = [asyncio.create_task(_write(alice, made, numbers, written)) for _ in range(8)]
        for _ in range(WRITES_A_ROUND):
            await written.acquire()
        await asyncio.to_thread(service.kill)
        await asyncio.gather(*writers)
        await asyncio.to_thread(service.start)
    everything = await _pages(feed)
    async with asyncio.timeout(60):
        while follower.last < everything[-1]["seq"]:  # noqa: ASYNC110 - a real process, seen through a real stream
            await asyncio.sleep(0.02)
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following
    assert follower.seen == everything
    assert made <= {one["id"] for one in everything}
    service.stop()


async def test_an_orderly_stop_ends_streams_and_waits_with_an_answer(
    service: MemoryProcess, client: httpx.AsyncClient
) -> None:
    feed = service.caller(client)
    feed.base = CHANGES
    follower = Follower(client, service.mint.token())
    following = asyncio.create_task(follower.follow_once())
    waiting = asyncio.create_task(feed.call("GET", params={"wait_seconds": "50"}))
    alice = service.caller(client)
    await alice.create()
    assert (await waiting).json()["next_since"] == 1
    waiting = asyncio.create_task(feed.call("GET", params={"wait_seconds": "50", "since": "1"}))
    async with asyncio.timeout(60):
        while b"memory_feed_waiting 2.0" not in (await client.get("/metrics")).content:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)
    await asyncio.to_thread(service.stop)
    assert (await waiting).json() == {"changes": [], "next_since": 1, "has_more": False}
    await following
    assert follower.ends == ["stopping"]
