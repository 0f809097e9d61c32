"""A service that answers while what it serves is still being opened."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from ragrid.errors import RagridError, StateError
from ragrid.web.opening import OpenedWhileServing
from ragrid.web.progress import Progress

#: More turns of the loop than an opening without input and output takes.
TURNS = 100


@contextlib.asynccontextmanager
async def served(application: OpenedWhileServing) -> AsyncIterator[httpx.AsyncClient]:
    """Start and end it as a server does: what it says is that it started, and that it ended."""
    words: asyncio.Queue[str] = asyncio.Queue()
    said: asyncio.Queue[str] = asyncio.Queue()

    async def receive() -> dict[str, str]:
        return {"type": await words.get()}

    async def send(message: Any) -> None:
        await said.put(message["type"])

    living = asyncio.create_task(application({"type": "lifespan"}, receive, send))
    await words.put("lifespan.startup")
    assert await said.get() == "lifespan.startup.complete"
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://test") as client:
            yield client
    finally:
        for stop in application.on_stop:
            stop()
        await words.put("lifespan.shutdown")
        assert await said.get() == "lifespan.shutdown.complete"
        await living


async def hello(_: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


async def test_until_it_is_open_it_tells_how_far_it_is() -> None:
    may_open, ended = asyncio.Event(), []

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        ended.append("closed")

    async def make(progress: Progress) -> Starlette:
        progress.begin("migrating the store", step=2, steps=6, total=200)
        progress.done = 50
        await may_open.wait()
        inner = Starlette(routes=[Route("/hello", hello)], lifespan=lifespan)
        inner.on_stop = (lambda: ended.append("stopping"),)  # type: ignore[attr-defined]  # as build_application does
        return inner

    application = OpenedWhileServing(make, name="test")
    async with served(application) as client:
        await asyncio.sleep(0)
        assert (await client.get("/healthz")).json() == {"status": "alive"}
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.headers["content-type"]) == (503, "application/problem+json")
        assert ready.json()["code"] == "not-ready"
        assert ready.json()["detail"] == "migrating the store: step 2 of 6, 25 %"
        assert ready.json()["progress"] == {
            "what": "migrating the store", "step": 2, "of": 6, "percent": 25, "work": 1,
        }  # fmt: skip
        refused = await client.post("/hello", json={})
        assert (refused.status_code, refused.json()["code"]) == (503, "store-unavailable")
        assert int(refused.headers["retry-after"]) > 0
        assert 'status="503"' in (await client.get("/metrics")).text
        may_open.set()
        for _ in range(TURNS):
            await asyncio.sleep(0)
        answer = await client.get("/hello")
        assert answer.text == "hello"
    assert ended == ["stopping", "closed"]
    assert application.failure is None


@pytest.mark.parametrize(
    ("error", "told"), [(StateError("the file is damaged"), "the file is damaged"), (ValueError("x"), "ValueError")]
)
async def test_what_cannot_be_opened_is_a_failure_that_says_why(error: Exception, told: str) -> None:
    async def make(_: Progress) -> Starlette:
        raise error

    application = OpenedWhileServing(make, name="test")
    async with served(application) as client:
        for _ in range(TURNS):
            await asyncio.sleep(0)
        assert (await client.get("/readyz")).status_code == 503
    assert isinstance(application.failure, RagridError)
    assert told in str(application.failure)


async def test_an_end_during_the_opening_is_asked_for_and_is_no_failure() -> None:
    heard: list[Progress] = []

    async def make(progress: Progress) -> Starlette:
        heard.append(progress)
        await asyncio.Event().wait()
        raise AssertionError("nothing ever sets it")

    application = OpenedWhileServing(make, name="test")
    async with served(application):
        await asyncio.sleep(0)
        assert not heard[0].goes_on()
    assert heard[0].goes_on()
    assert application.failure is None


def test_percent_is_told_only_where_rows_are_counted_and_never_whole_before_the_end() -> None:
    progress = Progress()
    assert str(progress) == "opening the store"
    progress.begin("migrating the store", step=1, steps=6, total=10)
    progress.done = 12
    assert str(progress) == "migrating the store: step 1 of 6, 99 %"
    assert json.loads(json.dumps(progress.document()))["percent"] == 99
