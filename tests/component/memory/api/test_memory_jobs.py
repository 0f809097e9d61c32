"""Jobs run beside the requests, and their records tell the truth."""

import asyncio
from typing import Any

import httpx
import pytest

from ragrid.errors import RagridError
from ragrid.services.memory.inmemory.store import InMemoryStore
from ragrid.services.memory.jobs.model import SILENCE_US, Job, begun
from ragrid.services.memory.jobs.runner import JobRunner, Progress
from ragrid.services.memory.service import build_memory_application
from ragrid.system.clock import ManualClock
from support.memory_calls import Caller
from support.token_mint import TokenMint


@pytest.fixture
def store() -> InMemoryStore:
    return InMemoryStore()


@pytest.fixture
def jobs(store: InMemoryStore, mint: TokenMint) -> Caller:
    application = build_memory_application(store, mint.verifier(), mint.clock, prefix="/memory")
    client = httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://memory")
    one = Caller(client, mint.token(sub="alice", tenant="acme"))
    one.base = "/memory/v1/jobs"
    return one


async def ended(store: InMemoryStore, job_id: str) -> Job:
    for _ in range(10_000):
        stored = await store.job("acme", job_id)
        assert stored is not None
        if stored.is_ended:
            return stored.job
        await asyncio.sleep(0)
    pytest.fail("the job does not end")


async def run(store: InMemoryStore, work: Any) -> Job:
    runner = JobRunner(store, ManualClock())
    started = await runner.start("reembed", work, tenant="acme", actor="alice")
    return await ended(store, started.job.id)


async def test_a_job_ends_with_its_result(store: InMemoryStore) -> None:
    async def work(progress: Progress) -> dict[str, Any]:
        progress.total = progress.done = 3
        return {"memories": 3}

    job = await run(store, work)
    assert (job.state, job.result, job.done, job.total, job.error) == ("done", {"memories": 3}, 3, 3, None)
    assert job.ended_at is not None


@pytest.mark.parametrize(
    ("raised", "told"),
    [(RagridError("no embedder; start it"), "no embedder; start it"), (ValueError("secret"), "ValueError")],
)
async def test_a_job_that_fails_says_why_and_no_more(store: InMemoryStore, raised: Exception, told: str) -> None:
    async def work(_progress: Progress) -> dict[str, Any]:
        raise raised

    job = await run(store, work)
    assert (job.state, job.result) == ("failed", None)
    assert told in (job.error or "")
    assert "secret" not in (job.error or "")


async def test_a_running_job_reports_and_is_ended_with_the_service(store: InMemoryStore) -> None:
    reached = asyncio.Event()

    async def work(progress: Progress) -> dict[str, Any]:
        progress.done = 5
        reached.set()
        await asyncio.Event().wait()
        return {}

    runner = JobRunner(store, ManualClock(), heartbeat_s=0)
    started = await runner.start("reembed", work, tenant="acme", actor="alice")
    await reached.wait()
    for _ in range(100):
        await asyncio.sleep(0)
    running = await store.job("acme", started.job.id)
    assert running is not None
    assert (running.job.state, running.job.done) == ("running", 5)
    await runner.close()
    assert "interrupted" in ((await ended(store, started.job.id)).error or "")


async def test_a_job_is_seen_by_its_tenant_alone(jobs: Caller, store: InMemoryStore) -> None:
    await store.save_job(begun("j1", "reembed", tenant="acme", actor="alice", at_us=1_800_000_000_000_000))
    await store.save_job(begun("j2", "reembed", tenant="evil", actor="eve", at_us=1_800_000_000_000_000))
    answer = await jobs.call("GET", "/j1")
    assert (answer.status_code, answer.json()["state"], answer.json()["kind"]) == (200, "running", "reembed")
    foreign = await jobs.call("GET", "/j2")
    assert (foreign.status_code, foreign.json()["code"]) == (404, "job-not-found")
    listed = (await jobs.call("GET")).json()
    assert ([one["id"] for one in listed["jobs"]], listed["next_before"]) == (["j1"], None)


async def test_a_job_that_was_left_is_seen_as_failed_at_once(
    jobs: Caller, store: InMemoryStore, clock: ManualClock
) -> None:
    await store.save_job(begun("j1", "reembed", tenant="acme", actor="alice", at_us=int(clock.now_s() * 1_000_000)))
    clock.advance(SILENCE_US / 1_000_000)
    assert (await jobs.call("GET", "/j1")).json()["state"] == "failed"


@pytest.mark.parametrize("path", ["/a%00b", "?before=%00", "?before=a%20b"])
async def test_what_cannot_be_an_id_is_refused(jobs: Caller, path: str) -> None:
    assert (await jobs.call("GET", path)).status_code == 400
