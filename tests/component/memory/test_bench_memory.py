"""The benchmark against the real service: its document, and that what it wrote goes away by itself."""

import asyncio
from datetime import datetime

import httpx
import msgspec

from ragrid.verify.bench_memory import TTL_S, Target, bench_memory
from support.memory_process import MemoryProcess


async def test_bench_memory_measures_and_cleans_up(service: MemoryProcess, client: httpx.AsyncClient) -> None:
    target = Target(service.url, service.mint.token(tenant="acme"))
    told: list[str] = []
    result = await asyncio.to_thread(bench_memory, direct=target, gateway=target, rounds=1, seconds=1, tell=told.append)
    document = msgspec.to_builtins(result)
    figures = {"reads_per_s", "writes_per_s", "read_p99_ms", "write_p99_ms"}
    assert document.keys() == {*figures, "through_gateway", "connections", "rounds", "memories"}
    assert document["through_gateway"].keys() == figures
    assert all(value > 0 for name, value in document.items() if name in figures)
    namespace = told[0].split()[-1]
    headers = {"authorization": f"Bearer {target.token}", "memory-namespace": namespace}
    page = (await client.get("/memory/v1/memories", params={"limit": 200}, headers=headers)).json()["memories"]
    assert len(page) == 200
    lives_s = {
        (
            msgspec.convert(one["expires_at"], type=datetime) - msgspec.convert(one["created_at"], type=datetime)
        ).total_seconds()
        for one in page
    }
    assert lives_s == {TTL_S}
    mine = await client.get("/memory/v1/memories", headers={"authorization": f"Bearer {target.token}"})
    assert mine.json()["memories"] == []
