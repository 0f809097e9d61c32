"""`POST /memory/v1/admin/backup`: who may, what is answered, and one at a time."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragrid.services.memory.service import build_memory_application
from ragrid.services.memory.sqlite import backups
from ragrid.services.memory.sqlite.store import SqliteStore
from support.described import Described
from support.memory_calls import Caller
from support.token_mint import TokenMint

ADMIN = "memory:read memory:write memory:admin"
PATH = "/../admin/backup"


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    """The application closes it."""
    return SqliteStore.open(tmp_path)


@pytest.fixture
async def served(store: SqliteStore, mint: TokenMint, described: Described) -> AsyncIterator[httpx.AsyncClient]:
    application = build_memory_application(store, mint.verifier(), mint.clock, prefix="/memory")
    transport = httpx.ASGITransport(application)
    hooks = {"response": [described.hook]}
    async with (
        application.router.lifespan_context(application),
        httpx.AsyncClient(transport=transport, base_url="http://memory", event_hooks=hooks) as client,
    ):
        yield client


@pytest.fixture
def root(served: httpx.AsyncClient, mint: TokenMint) -> Caller:
    return Caller(served, mint.token(sub="root", tenant="acme", scope=ADMIN))


async def ended(caller: Caller, job: dict[str, Any]) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while job["state"] == "running":
            await asyncio.sleep(0.01)
            job = (await caller.call("GET", f"/../jobs/{job['id']}")).json()
    return job


async def test_one_is_made_at_a_time(
    root: Caller, served: httpx.AsyncClient, mint: TokenMint, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    begin = store.backup_folder.begin
    monkeypatch.setattr(store.backup_folder, "begin", lambda: (gate.wait(30), begin())[1])
    await root.create(content="a fact")
    answers = await asyncio.gather(*(root.call("POST", PATH) for _ in range(3)))
    assert {one.status_code for one in answers} == {202}
    assert len({one.json()["id"] for one in answers}) == 1
    assert {one.headers["location"] for one in answers} == {f"/memory/v1/jobs/{answers[0].json()['id']}"}

    other = Caller(served, mint.token(sub="eve", tenant="evil", scope=ADMIN))
    refused = await other.call("POST", PATH)
    assert (refused.status_code, refused.json()["code"]) == (409, "backup-running")
    assert int(refused.headers["retry-after"]) > 0
    assert answers[0].json()["id"] not in refused.text

    gate.set()
    job = await ended(root, answers[0].json())
    assert (job["state"], job["kind"], job["created_by"]) == ("done", "backup", "root")
    assert (job["result"]["seq"], job["result"]["kept"]) == (1, [job["result"]["name"]])
    assert job["result"]["took_ms"] >= 0
    assert (await other.call("GET", f"/../jobs/{job['id']}")).status_code == 404
    mint.clock.advance(1)
    second = await ended(other, (await other.call("POST", PATH)).json())
    assert second["result"]["kept"] == [second["result"]["name"], job["result"]["name"]]


async def test_a_failure_is_told_by_the_job_and_the_next_one_may_be_asked_for(
    root: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as full:
        full.setattr(backups, "_free_bytes", lambda _folder: 0)
        job = await ended(root, (await root.call("POST", PATH)).json())
    assert job["state"] == "failed"
    assert "0 bytes left" in job["error"]
    assert (await ended(root, (await root.call("POST", PATH)).json()))["state"] == "done"


@pytest.mark.parametrize("claims", [{"scope": "memory:read memory:write"}, {"scope": ADMIN, "memory_ns": ["a"]}])
async def test_only_administrators_of_everything_may(
    served: httpx.AsyncClient, mint: TokenMint, claims: dict[str, Any], tmp_path: Path
) -> None:
    answer = await Caller(served, mint.token(**claims)).call("POST", PATH)
    assert (answer.status_code, answer.json()["code"]) in {(403, "insufficient-scope"), (403, "token-confined")}
    assert not (tmp_path / "backups").exists()


async def test_a_store_without_a_file_says_what_to_do(client: httpx.AsyncClient, mint: TokenMint) -> None:
    answer = await Caller(client, mint.token(scope=ADMIN)).call("POST", PATH)
    assert (answer.status_code, answer.json()["code"]) == (409, "backup-elsewhere")
