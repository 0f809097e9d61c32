"""Searching by meaning with a real process, and an embedder that does not always answer."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from ragrid.spec.settings import EmbedderSettings
from support.embedding_server import EmbeddingServer, embedding_server
from support.memory_calls import Caller
from support.memory_process import MemoryProcess

#: Longest wait for what comes by itself, seconds: the worker asks an embedder that was away again after at most 8 here.
PATIENCE_S = 60.0


@pytest.fixture
def embedder() -> Iterator[EmbeddingServer]:
    with embedding_server() as one:
        yield one


@pytest.fixture
def service(make_service: Callable[..., MemoryProcess], embedder: EmbeddingServer) -> MemoryProcess:
    one = make_service(embedder=EmbedderSettings(kind="openai", model="test", address=embedder.address))
    one.start()
    return one


@pytest.fixture
def alice(client: httpx.AsyncClient, service: MemoryProcess) -> Caller:
    return Caller(client, service.mint.token(sub="alice", tenant="acme"))


async def search(alice: Caller, query: str, mode: str = "hybrid") -> dict[str, Any]:
    answer = await alice.call("POST", "/search", json={"query": query, "mode": mode, "k": 100})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def counted(client: httpx.AsyncClient, metric: str) -> None:
    """Wait until the service has counted something under `metric`."""
    for _ in range(int(PATIENCE_S / 0.2)):
        if metric in (await client.get("/metrics")).text:
            return
        await asyncio.sleep(0.2)
    pytest.fail(f"{metric} was never counted")


async def until(alice: Caller, count: int, query: str) -> dict[str, Any]:
    """Wait until a search by meaning finds so many and nothing is missing."""
    found: dict[str, Any] = {}
    async with asyncio.timeout(PATIENCE_S):
        while len(found.get("results", ())) != count or found["degraded"]:
            await asyncio.sleep(0.2)
            found = await search(alice, query, "semantic")
    return found


async def test_an_embedder_that_is_away_stops_no_write_and_no_search_and_is_caught_up_with(
    alice: Caller, embedder: EmbeddingServer, client: httpx.AsyncClient
) -> None:
    await alice.create(content="brewing tea")
    await until(alice, 1, "brew teas")
    embedder.is_away = True
    for number in range(20):
        await alice.create(content=f"tea number {number}")
    found = await search(alice, "another tea")
    assert (found["mode_used"], found["degraded"], len(found["results"])) == ("lexical", ["semantic"], 21)
    ready = await client.get("/readyz")
    assert ready.status_code == 200, ready.text
    await counted(client, 'memory_embedding_failures_total{kind="away"}')
    embedder.is_away = False
    found = await until(alice, 21, "tea")
    assert found["mode_used"] == "semantic"
    metrics = (await client.get("/metrics")).text
    assert "memory_outbox_lag_seconds" in metrics


async def test_an_embedder_that_hangs_keeps_no_search_waiting(alice: Caller, embedder: EmbeddingServer) -> None:
    await alice.create(content="brewing tea")
    await until(alice, 1, "brew")
    embedder.is_hanging = True  # for longer than the caller here waits
    found = await search(alice, "a question about tea")
    assert (found["mode_used"], found["degraded"]) == ("lexical", ["semantic"])
    await alice.create(content="tea, too")
    assert len((await search(alice, "tea", "lexical"))["results"]) == 2


async def test_what_waited_when_the_process_was_killed_is_embedded_by_the_next(
    alice: Caller, embedder: EmbeddingServer, service: MemoryProcess
) -> None:
    await alice.create(content="brewing tea")
    await until(alice, 1, "brew")
    embedder.is_away = True
    made = [await alice.create(content=f"tea number {number}") for number in range(10)]
    service.kill()
    embedder.is_away = False
    before = list(embedder.embedded)
    service.start()
    await until(alice, 11, "tea")
    again = [text for text in embedder.embedded[len(before) :] if text.startswith("tea number")]
    assert sorted(again) == sorted(one["content"] for one in made)
