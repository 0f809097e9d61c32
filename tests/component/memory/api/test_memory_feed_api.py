"""The change feed as a caller sees it: pages, waiting, and the stream."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette

from ragrid.services.memory.api.changes import PAGE_LIMIT, WAIT_LIMIT_S
from ragrid.services.memory.feed.wire import STREAM_OPENING
from ragrid.services.memory.inmemory.store import InMemoryStore
from ragrid.services.memory.service import build_memory_application
from ragrid.system.clock import ManualClock
from support.asgi_stream import AsgiStream, open_stream
from support.memory_calls import Caller
from support.token_mint import TokenMint

CHANGES = "/memory/v1/changes"
Open = Callable[..., AbstractAsyncContextManager[AsgiStream]]


@pytest.fixture
def store() -> InMemoryStore:
    return InMemoryStore()


@pytest.fixture
def application(store: InMemoryStore, mint: TokenMint) -> Starlette:
    return build_memory_application(store, mint.verifier(), mint.clock, prefix="/memory")


@pytest.fixture
def client(application: Starlette) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://memory")


@pytest.fixture
def stream(application: Starlette, mint: TokenMint) -> Open:
    def opened(query: str = "", **headers: str) -> AbstractAsyncContextManager[AsgiStream]:
        sent = {"authorization": f"Bearer {mint.token(sub='alice', tenant='acme')}", **headers}
        return open_stream(application, f"{CHANGES}/stream{query}", sent)

    return opened


@pytest.fixture
def feed(client: httpx.AsyncClient, mint: TokenMint) -> Caller:
    one = Caller(client, mint.token(sub="alice", tenant="acme"))
    one.base = CHANGES
    return one


async def page(feed: Caller, **params: Any) -> dict[str, Any]:
    answer = await feed.call("GET", params=params)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def somebody_waits(store: InMemoryStore) -> None:
    for _ in range(10_000):
        if len(store.watches):
            return
        await asyncio.sleep(0)
    pytest.fail("nobody waits")


def events_of(text: bytes) -> list[tuple[int, str]]:
    """Return `(id, memory id)` of each change in the text of a stream."""
    found = []
    for block in text.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if lines.get("event") == "change":
            found.append((int(lines["id"]), msgspec.json.decode(lines["data"])["id"]))
    return found


async def test_a_page_shows_changes_with_their_memories(alice: Caller, feed: Caller) -> None:
    made = await alice.create(content="tea")
    await alice.call("DELETE", f"/{made['id']}")
    body = await page(feed)
    assert [(one["op"], one["version"], one["actor"]) for one in body["changes"]] == [
        ("create", 1, "alice"),
        ("delete", 2, "alice"),
    ]
    assert [one["memory"] for one in body["changes"]] == [made, None]
    assert (body["next_since"], body["has_more"]) == (2, False)
    assert await page(feed, since="2") == {"changes": [], "next_since": 2, "has_more": False}
    assert (await page(feed, since="latest"))["next_since"] == 2
    assert (await page(feed, limit="1"))["has_more"] is True


@pytest.mark.parametrize(
    "params",
    [
        {"since": "-1"},
        {"since": "x"},
        {"since": "1" * 19},
        {"limit": "0"},
        {"limit": str(PAGE_LIMIT + 1)},
        {"wait_seconds": str(WAIT_LIMIT_S + 1)},
        {"wait": "1"},
    ],
)
async def test_a_parameter_out_of_range_is_refused(feed: Caller, params: dict[str, str]) -> None:
    answer = await feed.call("GET", params=params)
    assert answer.status_code == 400
    assert answer.json()["code"] in {"invalid-parameter", "unknown-parameter"}


async def test_a_place_that_this_store_has_not_reached_is_409(alice: Caller, feed: Caller, stream: Open) -> None:
    await alice.create()
    answer = await feed.call("GET", params={"since": "7"})
    assert (answer.status_code, answer.json()["code"], answer.json()["last_seq"]) == (409, "feed-rewound", 1)
    async with stream("?since=7") as refused:
        assert refused.status == 409


async def test_a_waiting_page_ends_with_the_next_change(alice: Caller, feed: Caller, store: InMemoryStore) -> None:
    await alice.create()
    waiting = asyncio.create_task(page(feed, since="1", wait_seconds=str(WAIT_LIMIT_S)))
    await somebody_waits(store)
    made = await alice.create()
    body = await asyncio.wait_for(waiting, 30)
    assert [one["id"] for one in body["changes"]] == [made["id"]]
    assert len(store.watches) == 0


async def test_a_wait_that_is_over_answers_with_nothing(feed: Caller) -> None:
    assert await page(feed, wait_seconds="0") == {"changes": [], "next_since": 0, "has_more": False}


async def test_who_goes_away_while_waiting_is_let_go(
    application: Starlette, store: InMemoryStore, mint: TokenMint
) -> None:
    headers = {"authorization": f"Bearer {mint.token(sub='alice', tenant='acme')}"}
    opening = open_stream(application, f"{CHANGES}?wait_seconds={WAIT_LIMIT_S}", headers)

    async def leave() -> None:
        async with opening:
            raise AssertionError("nothing was to be answered")

    leaving = asyncio.create_task(leave())
    await somebody_waits(store)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert len(store.watches) == 0


async def test_a_stream_brings_what_was_and_what_comes(alice: Caller, stream: Open) -> None:
    first = await alice.create()
    async with stream() as events:
        assert events.status == 200
        assert events.headers["content-type"].startswith("text/event-stream")
        assert (events.headers["x-accel-buffering"], events.headers["cache-control"]) == ("no", "no-store")
        assert await events.piece() == STREAM_OPENING
        assert events_of(await events.until(b"\n\n")) == [(1, first["id"])]
        second = await alice.create()
        text = await events.until(b"\n\n")
        assert events_of(text) == [(2, second["id"])]
        assert text.startswith(b"id: 2\nevent: change\ndata: {")


async def test_a_stream_goes_on_after_the_last_event_that_was_seen(alice: Caller, stream: Open) -> None:
    made = [(await alice.create())["id"] for _ in range(5)]
    seen: list[tuple[int, str]] = []
    async with stream() as events:
        seen += events_of(await events.until(made[2].encode()))
    last = seen[2][0]
    async with stream("?since=0", **{"last-event-id": str(last)}) as events:
        rest = events_of(await events.until(made[4].encode()))
    assert [one for _, one in seen[:3]] + [one for _, one in rest] == made


async def test_a_stream_ends_with_its_token(mint: TokenMint, application: Starlette) -> None:
    token = mint.token(sub="alice", tenant="acme", exp=int(mint.clock.now_s()) + 1)
    mint.clock.advance(0.99)
    async with open_stream(application, f"{CHANGES}/stream", {"authorization": f"Bearer {token}"}) as events:
        text = await events.until(b"event: end")
        assert text.endswith(b'event: end\ndata: {"reason":"time"}\n\n')
        assert await events.piece() == b""


async def test_a_stream_shows_nothing_of_others(
    alice: Caller, client: httpx.AsyncClient, mint: TokenMint, stream: Open
) -> None:
    eve = Caller(client, mint.token(sub="eve", tenant="evil"))
    async with stream() as events:
        await events.piece()
        await eve.create(content="not for alice")
        mine = await alice.create()
        assert [one for _, one in events_of(await events.until(b"\n\n"))] == [mine["id"]]


async def test_more_watchers_than_allowed_are_refused(store: InMemoryStore, stream: Open, feed: Caller) -> None:
    store.waiting._limit = 0
    async with stream() as refused:
        assert refused.status == 503
    answer = await feed.call("GET", params={"wait_seconds": "1"})
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "overloaded", "1")


async def test_what_expired_is_shown_without_content(alice: Caller, feed: Caller, clock: ManualClock) -> None:
    await alice.create(content="secret", ttl_seconds=10)
    clock.advance(10)
    body = await page(feed)
    assert [(one["op"], one["memory"]) for one in body["changes"]] == [("create", None)]
