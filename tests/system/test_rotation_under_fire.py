"""Keys rotate while requests run and the token service is killed: no valid token is refused, none outlives its time.

`RAGRID_ROTATIONS=20 RAGRID_RATE=1000` asks for more than the short round that every run of the tests has.
"""

import asyncio
import json
import os
import random
import signal
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from ragrid.identity.strict import decode_base64url
from support.running_grid import RunningGrid, grid_document, running_grid
from support.steady_client import SteadyClient, get_with

ROTATIONS = int(os.environ.get("RAGRID_ROTATIONS", "3"))
#: Requests a second that are aimed at.
RATE = int(os.environ.get("RAGRID_RATE", "150"))
CONNECTIONS = 16
ROTATION_S, TOKEN_S = 6, 4
#: Each rotation takes 6 s and up to 5 s more after a kill; a busy machine twice as much.
LIMIT_S = 30.0 * ROTATIONS
#: Fewer requests than this would show nothing.
REQUESTS_AT_LEAST = 50 * ROTATIONS
PATHS = ("/api/v2/tenants/default_tenant/databases/default_database/collections", "/memory/v1/memories")
#: What may pass between the edge's look at the clock and ours, on one machine, before a verdict counts against it.
CLOSE_S = 0.05


@dataclass(frozen=True)
class Seen:
    """One request, and the life of its token; times are seconds since 1970."""

    sent_s: float
    answered_s: float
    expires_s: float
    kid: str
    path: str
    status: int


@dataclass(frozen=True)
class Held:
    """A token as it is sent: a request with it for each path."""

    expires_s: float
    kid: str
    requests: tuple[tuple[str, bytes], ...]


@dataclass
class History:
    """What happened, written by several threads."""

    seen: list[Seen] = field(default_factory=list)
    tokens: list[Held] = field(default_factory=list)
    kids: list[str] = field(default_factory=list)
    kills: int = 0
    faults: list[str] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)


def part(token: str, index: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(decode_base64url(token.split(".")[index]))
    return found


def fetch_tokens(grid: RunningGrid, history: History) -> None:
    """Get a token as often as the service answers; each new signer is a rotation."""
    secret = (grid.state / "secrets" / "clients" / "reader").read_text()
    with grid.client() as client:
        while not history.is_over.wait(0.05):
            try:
                answer = client.post(
                    "/oauth2/token", data={"grant_type": "client_credentials"}, auth=("reader", secret)
                )
            except httpx.TransportError:
                continue
            if answer.status_code != 200:  # the service was just killed
                continue
            token = answer.json()["access_token"]
            kid, requests = part(token, 0)["kid"], tuple((path, get_with(path, token)) for path in PATHS)
            history.tokens = [*history.tokens[-200:], Held(float(part(token, 1)["exp"]), kid, requests)]
            if kid not in history.kids:
                history.kids.append(kid)


def load(grid: RunningGrid, history: History, seed: int) -> None:
    """Send requests with young tokens, old ones, and ones that are over, over connections that are kept."""

    async def everybody() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(CONNECTIONS):
                group.create_task(caller(grid, history, random.Random(seed + number)))

    asyncio.run(everybody())


async def caller(grid: RunningGrid, history: History, chance: random.Random) -> None:
    trust = ssl.create_default_context(cafile=str(grid.authority))
    client = SteadyClient(int(grid.document["gateway"]["https"]), trust=trust)
    next_s = time.monotonic() + chance.uniform(0.0, CONNECTIONS / RATE)
    try:
        while not history.is_over.is_set():
            await asyncio.sleep(max(0.0, next_s - time.monotonic()))
            next_s = max(
                next_s + CONNECTIONS / RATE, time.monotonic() - 1.0
            )  # what a pause has cost is not all made up
            known = history.tokens  # of ten seconds: more than half of them are over
            if known:
                await request_once(client, history, chance.choice(chance.choice((known, known[-20:]))), chance)
    finally:
        await client.close()


async def request_once(client: SteadyClient, history: History, token: Held, chance: random.Random) -> None:
    path, request = chance.choice(token.requests)
    sent_s = time.time()
    try:
        answer = await client.send(request)
    except (OSError, TimeoutError) as error:
        history.faults.append(repr(error))
        return
    history.seen.append(Seen(sent_s, time.time(), token.expires_s, token.kid, path, answer.status))


def kill_now_and_then(grid: RunningGrid, history: History, seed: int) -> None:
    chance = random.Random(seed)
    while not history.is_over.wait(chance.uniform(1.0, 4.0) if history.kills == 0 else chance.uniform(4.0, 20.0)):
        for pid in grid.pids("tokens"):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            history.kills += 1


@pytest.fixture(scope="module")
def hurried_grid() -> Iterator[RunningGrid]:
    document = grid_document(name="hurried")
    lives = {"access_token": f"{TOKEN_S}s", "service_token": f"{TOKEN_S}s", "key_rotation": f"{ROTATION_S}s"}
    document["auth"].update(lives)
    with running_grid(document) as running:
        yield running


def is_enough(history: History) -> bool:
    """Tell whether keys were rotated, a service was killed, and a token was used after its time."""
    has_outlived = any(one.status == 401 for one in reversed(history.seen))
    return len(history.kids) > ROTATIONS and history.kills > 0 and has_outlived


@pytest.mark.timeout(LIMIT_S + 120)
def test_no_valid_token_is_refused_and_none_outlives_its_time(hurried_grid: RunningGrid) -> None:
    seed = int(os.environ.get("RAGRID_SEED", str(time.time_ns() % 100_000)))
    history = History()
    threads = [
        threading.Thread(target=fetch_tokens, args=(hurried_grid, history)),
        threading.Thread(target=kill_now_and_then, args=(hurried_grid, history, seed)),
        threading.Thread(target=load, args=(hurried_grid, history, seed)),
    ]
    began_s = time.monotonic()
    try:
        for thread in threads:
            thread.start()
        while not is_enough(history) and time.monotonic() - began_s < LIMIT_S:
            time.sleep(0.2)
    finally:
        history.is_over.set()
        for thread in threads:
            thread.join()
    refused = [one for one in history.seen if one.status != 200 and one.answered_s < one.expires_s - CLOSE_S]
    outlived = [one for one in history.seen if one.status != 401 and one.sent_s > one.expires_s + CLOSE_S]
    took_s = time.monotonic() - began_s
    figure = (
        f"{len(history.kids) - 1} rotations, {history.kills} kills, {len(history.seen)} requests in {took_s:.0f} s "
        f"({len(history.seen) / took_s:.0f}/s): {len(refused)} valid tokens refused, {len(outlived)} accepted after "
        f"their time; {dict(Counter(one.status for one in history.seen))}; seed {seed}"
    )
    print(f"\n{figure}")  # noqa: T201 - the figure is what is measured
    assert history.faults == [], figure
    assert len(history.kids) > ROTATIONS, figure
    assert history.kills >= 1, figure
    assert len(history.seen) >= REQUESTS_AT_LEAST, figure
    assert {200, 401} <= {one.status for one in history.seen}, figure
    assert refused == [], figure
    assert outlived == [], figure
