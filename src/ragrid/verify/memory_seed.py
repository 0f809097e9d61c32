"""Fills a namespace of a memory service for the benchmark, as fast as the service takes it."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import msgspec

from ragrid.errors import RagridError, UnreachableError
from ragrid.inference.http import trust
from ragrid.verify.memory_texts import Model, memories_of

PATH = "/memory/v1/memories"
#: Memories that one request writes, and requests under way at once: while one is committed, the next is made.
BATCH = 500
_AT_ONCE = 2
#: A commit that meets a checkpoint on a slow disk takes seconds.
_TIMEOUT_S = 120.0
_TELL_EVERY = 100_000
#: A disk that other work keeps busy makes the service refuse writes for a while: for so long, they are sent again.
_PATIENCE_S = 60.0
_PAUSE_S = 1.0

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Target:
    """One address of the memory service, without a path. `token` returns one that may read and write there now."""

    url: str
    token: Callable[[], str]


@dataclass(frozen=True)
class Seed:
    """What is written: keys k0, k1, … of `namespace`, each for `ttl_s` seconds, with vectors where there is a model."""

    namespace: str
    ttl_s: int
    model: Model | None = None
    number: int = 7

    @property
    def beside(self) -> str:
        """Return the namespace of what is written under load."""
        return f"{self.namespace}-written"


def fill(target: Target, seed: Seed, numbers: range, *, ca_file: Path | None, tell: Callable[[str], None]) -> float:
    """Write the memories of these numbers; return the seconds that took.

    Raises UnreachableError when the service does not answer, RagridError when it refuses.
    """
    started_s = time.monotonic()
    asyncio.run(_fill(target, seed, numbers, ca_file, tell))
    return time.monotonic() - started_s


async def _fill(target: Target, seed: Seed, numbers: range, ca_file: Path | None, tell: Callable[[str], None]) -> None:
    firsts = iter(numbers[::BATCH])

    async def worker(client: httpx.AsyncClient) -> None:
        for first in firsts:
            await _put(client, target, seed, range(first, min(first + BATCH, numbers.stop)))
            if first % _TELL_EVERY == 0 and first > numbers.start:
                tell(f"wrote {first} of {numbers.stop} memories")

    async with httpx.AsyncClient(
        base_url=target.url, verify=trust(ca_file), timeout=_TIMEOUT_S, trust_env=False
    ) as client:
        await asyncio.gather(*(worker(client) for _ in range(_AT_ONCE)))  # the first fault is the one to tell


def _will_pass(answer: httpx.Response) -> bool:
    """Tell whether the same request may do better soon: a service that has just started does not know its model yet."""
    return answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE or "has not answered yet; try again" in answer.text


async def _put(client: httpx.AsyncClient, target: Target, seed: Seed, numbers: range) -> None:
    memories = memories_of(seed.number, numbers, model=seed.model, ttl_s=seed.ttl_s)
    operations = [
        {"op": "put", "id": f"k{number}", "memory": memory} for number, memory in zip(numbers, memories, strict=True)
    ]
    headers = {
        "authorization": f"Bearer {await asyncio.to_thread(target.token)}",
        "memory-namespace": seed.namespace,
        "content-type": "application/json",
    }
    body = _encode({"operations": operations, "atomic": True})
    give_up_s = time.monotonic() + _PATIENCE_S
    while True:  # the same keys and the same memories: a batch may be sent again
        try:
            answer = await client.post(f"{PATH}/batch", content=body, headers=headers)
        except httpx.HTTPError as error:
            if time.monotonic() > give_up_s:
                raise UnreachableError(f"{client.base_url}: {error!r}; run `ragrid status`") from error
        else:
            if answer.is_success:
                return
            if not _will_pass(answer) or time.monotonic() > give_up_s:
                refused = f"a write was refused with {answer.status_code}: {answer.text[:300]}"
                raise RagridError(f"{client.base_url}: {refused}")
        await asyncio.sleep(_PAUSE_S)


def forget_all(target: Target, namespace: str) -> None:
    """Delete all memories of a namespace. Raises UnreachableError or RagridError as `fill` does."""
    is_complete = False
    with httpx.Client(base_url=target.url, timeout=_TIMEOUT_S, trust_env=False) as client:
        while not is_complete:
            token = _forget(client, target, namespace, {"dry_run": True})["token"]
            is_complete = _forget(client, target, namespace, {"token": token})["is_complete"]


def _forget(client: httpx.Client, target: Target, namespace: str, body: Mapping[str, Any]) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {target.token()}", "memory-namespace": namespace}
    try:
        answer = client.post(f"{PATH}/forget", json={"filter": {"user_id": "bench"}, **body}, headers=headers)
    except httpx.HTTPError as error:
        raise UnreachableError(f"{client.base_url}: {error!r}; run `ragrid status`") from error
    if not answer.is_success:
        raise RagridError(f"{client.base_url}: forgetting was refused with {answer.status_code}: {answer.text[:300]}")
    found: dict[str, Any] = answer.json()
    return found
