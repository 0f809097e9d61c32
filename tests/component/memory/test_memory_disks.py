"""Disks that fail, fill up, turn read-only or hang under the running service: refused clearly, healed by itself."""

import asyncio
from typing import Any

import httpx
import pytest

from support.broken_disk import broken_disk
from support.memory_calls import Caller
from support.memory_process import MemoryProcess


async def _write(caller: Caller, number: int, kept: dict[str, str]) -> httpx.Response:
    content = f"fact {number} " + "x" * 300
    answer = await caller.call("PUT", f"/k{number}", json={"content": content})
    if answer.status_code == 201:
        kept[f"k{number}"] = content
    return answer


async def _assert_kept(caller: Caller, kept: dict[str, str], *, refused: range = range(0)) -> None:
    """What was acknowledged is there; what was refused is there whole or not at all."""
    for memory_id, content in kept.items():
        assert (await caller.call("GET", f"/{memory_id}")).json()["content"] == content
    for number in refused:
        answer = await caller.call("GET", f"/k{number}")
        assert answer.status_code == 404 or answer.json()["content"].startswith(f"fact {number} ")


def _assert_refused(answer: httpx.Response, statuses: set[int]) -> None:
    problem: dict[str, Any] = answer.json()
    assert answer.status_code in statuses, problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) > 0
    assert problem["detail"]


@pytest.mark.parametrize(
    ("fault", "calls", "statuses"),
    [
        ("error=EIO", "fdatasync", {503}),
        ("error=EIO", "pwrite64", {503}),
        ("error=ENOSPC", "pwrite64", {507}),
        ("error=EROFS", "pwrite64,fdatasync,ftruncate", {503}),
    ],
)
async def test_a_disk_that_refuses(
    service: MemoryProcess, client: httpx.AsyncClient, fault: str, calls: str, statuses: set[int]
) -> None:
    alice = service.caller(client)
    kept: dict[str, str] = {}
    for number in range(10):
        await _write(alice, number, kept)
    with broken_disk(service.pid, fault, calls=calls):
        answers = await asyncio.gather(*(_write(alice, number, kept) for number in range(10, 20)))
        for answer in answers:
            _assert_refused(answer, statuses)
        await _assert_kept(alice, kept)
    assert (await _write(alice, 20, kept)).status_code == 201
    await asyncio.to_thread(service.kill)
    await asyncio.to_thread(service.start)
    assert len(kept) == 11
    await _assert_kept(alice, kept, refused=range(10, 20))


async def test_a_disk_that_hangs_hangs_nobody(service: MemoryProcess, client: httpx.AsyncClient) -> None:
    alice = service.caller(client)
    kept: dict[str, str] = {}
    await _write(alice, 0, kept)
    with broken_disk(service.pid, "delay_enter=8000000", calls="fdatasync"):
        waiting = [asyncio.create_task(_write(alice, number, kept)) for number in range(1, 5)]
        await asyncio.sleep(0.5)
        assert not any(task.done() for task in waiting), "a write was answered before it was durable"
        await _assert_kept(alice, {"k0": kept["k0"]})
        assert (await client.get("/readyz")).status_code == 503
        for answer in await asyncio.gather(*waiting):
            _assert_refused(answer, {503})
            assert "not known" in answer.json()["detail"]
        at_once = await _write(alice, 5, kept)
        _assert_refused(at_once, {503})
        assert "nothing was written" in at_once.json()["detail"]
    for _ in range(150):
        if (await _write(alice, 6, kept)).status_code == 201:
            break
        await asyncio.sleep(0.2)
    assert "k6" in kept, "writes are still refused 30 s after the disk was well again"
    await _assert_kept(alice, kept, refused=range(1, 5))
    assert (await alice.call("GET", "/k5")).status_code == 404
    assert (await client.get("/readyz")).status_code == 200
