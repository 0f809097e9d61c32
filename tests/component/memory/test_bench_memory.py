"""The benchmark against the real service: its document, and that what it wrote goes away by itself."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

import httpx
import msgspec
import pytest

from ragrid.inference.hashing import DIMENSION, HashingEmbedder
from ragrid.spec.settings import EmbedderSettings
from ragrid.verify import bench_memory as bench_memory_module
from ragrid.verify import memory_figures
from ragrid.verify.bench_memory import TTL_S, Effort, Place, bench_memory
from ragrid.verify.memory_figures import Figures
from ragrid.verify.memory_seed import Target, forget_all
from ragrid.verify.memory_texts import Model
from support.memory_process import MemoryProcess

FIGURES = set(Figures.__struct_fields__)


@pytest.fixture(autouse=True)
def _few_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_memory_module, "QUESTIONS", 10)


class Bench:
    """One run against the service alone, twice, and what it told."""

    def __init__(self, service: MemoryProcess) -> None:
        self.token = service.mint.token(tenant="acme")
        self.target = Target(service.url, lambda: self.token)
        self.told: list[str] = []

    async def run(self, memories: int, model: Model | None = None) -> dict[str, Any]:
        place, effort = Place(self.target, self.target), Effort(rounds=1, seconds=1)
        found = await asyncio.to_thread(
            bench_memory, place, effort, memories=memories, model=model, tell=self.told.append
        )
        document: dict[str, Any] = msgspec.to_builtins(found)
        return document

    @property
    def namespace(self) -> str:
        return self.told[0].split()[-1]

    async def listed(self, client: httpx.AsyncClient, namespace: str) -> list[dict[str, Any]]:
        headers = {"authorization": f"Bearer {self.token}", "memory-namespace": namespace}
        found: list[dict[str, Any]] = (
            await client.get("/memory/v1/memories", params={"limit": 200}, headers=headers)
        ).json()["memories"]
        return found


async def test_bench_memory_measures_each_step_and_cleans_up(
    service: MemoryProcess, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_figures, "FIRST_STEP", 250)
    bench = Bench(service)
    document = await bench.run(1000)
    more = {"through_gateway", "connections", "rounds", "memories", "search_mode", "steps", "per_tenfold"}
    assert document.keys() == FIGURES | more
    assert document["through_gateway"].keys() == document["per_tenfold"].keys() == FIGURES
    assert all(value > 0 for name, value in document.items() if name in FIGURES)
    assert document["search_mode"] == "lexical"
    assert [step["memories"] for step in document["steps"]] == [250, 1000]
    for namespace in (bench.namespace, f"{bench.namespace}-written"):
        page = await bench.listed(client, namespace)
        assert len(page) == 200
        assert {_life_s(one) for one in page} == {TTL_S + 3}
    assert await bench.listed(client, "default") == []


async def test_with_an_embedder_searches_are_hybrid(
    make_service: Callable[..., MemoryProcess], client: httpx.AsyncClient
) -> None:
    service = make_service(embedder=EmbedderSettings(kind="hashing"))
    service.start()
    bench = Bench(service)
    document = await bench.run(120, Model(HashingEmbedder.name, DIMENSION))
    assert (document["search_mode"], document["per_tenfold"], len(document["steps"])) == ("hybrid", None, 1)
    assert len(await bench.listed(client, bench.namespace)) == 120
    await asyncio.to_thread(forget_all, bench.target, bench.namespace)
    assert await bench.listed(client, bench.namespace) == []


def _life_s(memory: dict[str, Any]) -> float:
    created, expires = (msgspec.convert(memory[name], type=datetime) for name in ("created_at", "expires_at"))
    return (expires - created).total_seconds()
