"""The promises of the memory service, kept by the real process: kill, full disk, failing disk, a second process."""

import asyncio
import contextlib
import itertools
import os
import resource
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psutil

from support.memory_calls import Caller
from support.memory_process import MemoryProcess

#: How often the service is killed; RAGRID_KILLS=50 is the long proof.
KILLS = int(os.environ.get("RAGRID_KILLS", "3"))
#: With fewer acknowledged writes, a round of the kill test proves nothing.
WRITES_A_ROUND = 200


async def test_what_was_answered_survives_kill_9(service: MemoryProcess, client: httpx.AsyncClient) -> None:
    alice = service.caller(client)
    acknowledged: dict[str, dict[str, Any]] = {}
    numbers = itertools.count()
    for _ in range(KILLS):
        enough = asyncio.Semaphore(0)
        writers = [asyncio.create_task(_write(alice, acknowledged, numbers, enough)) for _ in range(16)]
        for _ in range(WRITES_A_ROUND):
            await enough.acquire()
        await asyncio.to_thread(service.kill)
        await asyncio.gather(*writers)
        await asyncio.to_thread(service.start)
        await _assert_whole(alice, acknowledged)
    service.stop()


async def _write(
    caller: Caller, acknowledged: dict[str, dict[str, Any]], numbers: Iterator[int], written: asyncio.Semaphore
) -> None:
    """Write new memories and patch them until the service is gone; note the last answer for each id."""
    while True:
        number = next(numbers)
        body = {"content": f"fact {number} " + "x" * 300, "tags": [f"t{number}"], "data": {"number": number}}
        try:
            made = await caller.call("PUT", f"/k{number}", json=body)
            assert made.status_code == 201, made.text
            acknowledged[f"k{number}"] = made.json()
            patched = await caller.call("PATCH", f"/k{number}", json={"importance": 0.9})
            assert patched.status_code == 200, patched.text
            acknowledged[f"k{number}"] = patched.json()
        except httpx.TransportError:
            return
        written.release()


async def _assert_whole(caller: Caller, acknowledged: dict[str, dict[str, Any]]) -> None:
    """Everything acknowledged is there, in that version or the next; nothing is there by half."""
    stored = {one["id"]: one for one in await _walk(caller)}
    assert acknowledged.keys() <= stored.keys()
    for memory_id, one in stored.items():
        number = one["data"]["number"]
        assert (memory_id, one["tags"], one["content"].split()[1]) == (f"k{number}", [f"t{number}"], str(number))
        known = acknowledged.get(memory_id)
        assert known is None or one == known or one["version"] == known["version"] + 1
    for memory_id, one in list(stored.items())[:20]:
        events = (await caller.call("GET", f"/{memory_id}/history")).json()["events"]
        assert [event["version"] for event in events] == list(range(one["version"], 0, -1))
        assert events[0]["memory"] == one
        assert await caller.search(one["content"].split()[1], filter={"tags": one["tags"]}) == [memory_id]
    ready = await caller._client.get("/readyz")
    assert ready.json()["memories"] == len(stored)


async def _walk(caller: Caller) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    params = {"limit": "200"}
    while True:
        page = (await caller.call("GET", params=params)).json()
        found += page["memories"]
        if page["next_cursor"] is None:
            return found
        params["cursor"] = page["next_cursor"]


async def test_a_second_process_is_refused(service: MemoryProcess, client: httpx.AsyncClient) -> None:
    made = await service.caller(client).create()
    second = await asyncio.to_thread(service.run)
    assert second.returncode == 4
    assert "memory.lock" in second.stderr
    assert "Traceback" not in second.stderr
    assert (await service.caller(client).call("GET", f"/{made['id']}")).status_code == 200


async def test_a_damaged_store_is_refused_and_left_as_it_is(service: MemoryProcess) -> None:
    service.stop()
    path = service.data_directory / "memory.db"
    damaged = b"this is not a database" * 1000
    path.write_bytes(damaged)
    refused = await asyncio.to_thread(service.run)
    assert refused.returncode == 1
    assert str(path) in refused.stderr
    assert "Traceback" not in refused.stderr
    assert path.read_bytes() == damaged


async def test_of_64_writers_with_one_version_exactly_one_wins(
    service: MemoryProcess, client: httpx.AsyncClient
) -> None:
    alice = service.caller(client)
    etag = (await alice.call("PUT", "/k", json={"content": "start"})).headers["etag"]
    for _ in range(3):
        answers = await asyncio.gather(
            *(alice.call("PUT", "/k", json={"content": f"by {n}"}, headers={"if-match": etag}) for n in range(64))
        )
        assert sorted(answer.status_code for answer in answers) == [200] + [412] * 63
        winner = next(answer for answer in answers if answer.status_code == 200)
        read = await alice.call("GET", "/k")
        assert read.content == winner.content
        etag = read.headers["etag"]


async def test_a_full_store_says_507_serves_reads_and_takes_writes_again_after_a_delete(
    make_service: Callable[..., MemoryProcess], client: httpx.AsyncClient
) -> None:
    service = make_service(max_store_bytes=1_000_000)
    service.start()
    alice = service.caller(client)
    made: list[str] = []
    while True:
        answer = await alice.call("POST", json={"content": f"number {len(made)} " + "lorem ipsum " * 80})
        if answer.status_code != 201:
            break
        made.append(answer.json()["id"])
        assert len(made) < 5000
    assert (answer.status_code, answer.json()["code"]) == (507, "store-full")
    assert len(made) > 20
    assert (await alice.call("GET", f"/{made[0]}")).status_code == 200
    assert (await client.get("/readyz")).json()["memories"] == len(made)
    for memory_id in made:
        assert (await alice.call("DELETE", f"/{memory_id}")).status_code == 204
    assert (await alice.call("POST", json={"content": "there is room again"})).status_code == 201
    service.stop()


async def test_a_failing_disk_refuses_writes_serves_reads_and_recovers_by_itself(
    service: MemoryProcess, client: httpx.AsyncClient
) -> None:
    alice = service.caller(client)
    kept = [(await alice.create(content=f"before {n}"))["id"] for n in range(20)]
    process = psutil.Process(service.pid)
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    log_bytes = (service.data_directory / "memory.db-wal").stat().st_size
    process.rlimit(resource.RLIMIT_FSIZE, (log_bytes, resource.RLIM_INFINITY))
    statuses = {(await alice.call("POST", json={"content": f"during {n}"})).status_code for n in range(10)}
    assert statuses <= {503, 507}
    answers = [await alice.call("GET", f"/{memory_id}") for memory_id in kept]
    assert {answer.status_code for answer in answers} == {200}
    process.rlimit(resource.RLIMIT_FSIZE, unlimited)
    after = await alice.create(content="after")
    assert await alice.ids() == [after["id"], *reversed(kept)]
    await asyncio.to_thread(service.kill)
    await asyncio.to_thread(service.start)
    assert await alice.ids() == [after["id"], *reversed(kept)]


async def test_an_orderly_end_answers_what_it_accepted(service: MemoryProcess, client: httpx.AsyncClient) -> None:
    alice = service.caller(client)
    writes = [asyncio.create_task(alice.call("PUT", f"/k{n}", json={"content": "x"})) for n in range(64)]
    done, _ = await asyncio.wait(writes, return_when=asyncio.FIRST_COMPLETED)
    assert done
    await asyncio.to_thread(service.stop)
    answered = set()
    for number, write in enumerate(writes):
        with contextlib.suppress(httpx.TransportError):
            if (await write).status_code == 201:
                answered.add(f"k{number}")
    assert not (service.data_directory / "memory.db-wal").exists()
    await asyncio.to_thread(service.start)
    assert answered <= set(await alice.ids(limit=200))


async def test_the_metrics_tell_of_the_store(service: MemoryProcess, client: httpx.AsyncClient) -> None:
    alice = service.caller(client)
    made = await alice.create()
    await alice.search("fact")
    await alice.call("GET", f"/{made['id']}")
    metrics = (await client.get("/metrics")).text
    assert 'route="/memory/v1/memories/{id}"' in metrics
    assert made["id"] not in metrics
    for name in ("store_bytes", "rows", "write_queue_depth", "commit_batch_size_count", "commit_seconds_count"):
        assert f"memory_{name} " in metrics
    assert 'memory_search_seconds_count{mode="lexical"} 1.0' in metrics
    assert "memory_expired_total 0.0" in metrics
