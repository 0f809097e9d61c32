"""64 writers on one key, through the real process: with If-Match exactly the right number succeed."""

import asyncio
import os
from collections.abc import Awaitable, Iterable

import httpx

from support.memory_calls import Caller
from support.memory_process import MemoryProcess

WRITERS = 64
#: Rounds, and what each writer has to bring in; RAGRID_MOVES=20 is the long proof.
MOVES = int(os.environ.get("RAGRID_MOVES", "1"))


async def test_of_64_writers_the_right_number_succeed(service: MemoryProcess, client: httpx.AsyncClient) -> None:
    alice = service.caller(client)
    await _a_version_is_taken_once(alice)
    await _a_key_is_made_once(alice)
    await _a_batch_wins_whole(alice)
    await _no_update_is_lost(alice)
    service.stop()


async def _statuses(calls: Iterable[Awaitable[httpx.Response]]) -> list[int]:
    return sorted(one.status_code for one in await asyncio.gather(*calls))


async def _a_version_is_taken_once(alice: Caller) -> None:
    await alice.call("PUT", "/k", json={"content": "start"})
    for version in range(1, 2 * MOVES + 1):
        headers = {"if-match": f'"{version}"'}
        calls = [alice.call("PUT", "/k", json={"content": f"by {n}"}, headers=headers) for n in range(WRITERS)]
        assert await _statuses(calls) == [200] + [412] * (WRITERS - 1)


async def _a_key_is_made_once(alice: Caller) -> None:
    headers = {"if-none-match": "*"}
    for key in range(MOVES):
        calls = [alice.call("PUT", f"/new{key}", json={"content": f"by {n}"}, headers=headers) for n in range(WRITERS)]
        assert await _statuses(calls) == [201] + [412] * (WRITERS - 1)


async def _a_batch_wins_whole(alice: Caller) -> None:
    keys = [f"b{number}" for number in range(4)]
    for key in keys:
        await alice.call("PUT", f"/{key}", json={"content": "start"})

    def batch(writer: int, version: int) -> Awaitable[httpx.Response]:
        patch = {"content": f"by {writer}"}
        operations = [{"op": "patch", "id": key, "patch": patch, "if_match": version} for key in keys]
        return alice.call("POST", "/batch", json={"atomic": True, "operations": operations})

    for version in range(1, MOVES + 1):
        calls = [batch(writer, version) for writer in range(WRITERS)]
        assert await _statuses(calls) == [200] + [409] * (WRITERS - 1)
        contents = {(await alice.call("GET", f"/{key}")).json()["content"] for key in keys}
        assert len(contents) == 1


async def _no_update_is_lost(alice: Caller) -> None:
    """Each writer adds one, so often, and reads again whenever another one was faster."""
    await alice.call("PUT", "/counter", json={"content": "counter", "data": {"count": 0}})
    results = await asyncio.gather(*(_add(alice) for _ in range(WRITERS)))
    total = WRITERS * MOVES
    assert sorted(version for each in results for version in each) == list(range(2, total + 2))
    last = (await alice.call("GET", "/counter")).json()
    assert (last["data"]["count"], last["version"]) == (total, total + 1)


async def _add(alice: Caller) -> list[int]:
    """Return the versions that this writer made."""
    made: list[int] = []
    while len(made) < MOVES:
        read = await alice.call("GET", "/counter")
        count = read.json()["data"]["count"]
        headers = {"if-match": read.headers["etag"]}
        answer = await alice.call("PATCH", "/counter", json={"data": {"count": count + 1}}, headers=headers)
        if answer.status_code == 200:
            made.append(answer.json()["version"])
        else:
            assert answer.status_code == 412
            assert answer.json()["current_version"] > read.json()["version"]
    return made
