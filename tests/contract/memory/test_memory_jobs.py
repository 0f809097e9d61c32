"""The records of jobs mean the same in every store."""

import asyncio

from ragrid.services.memory.jobs.model import KEPT_US, SILENCE_US, StoredJob, advanced, begun, finished
from ragrid.services.memory.protocol.store import MemoryStore

NOW = 1_800_000_000_000_000


def job(job_id: str = "1", *, tenant: str = "acme", at_us: int = NOW) -> StoredJob:
    return begun(job_id, "reembed", tenant=tenant, actor="alice", at_us=at_us)


async def test_a_job_is_read_as_it_was_saved(store: MemoryStore) -> None:
    one = job()
    await store.save_job(one)
    assert await store.job("acme", "1") == one
    later = advanced(one, done=3, total=10, at_us=NOW + 1)
    await store.save_job(later)
    assert await store.job("acme", "1") == later
    assert await store.job("acme", "2") is None


async def test_a_job_that_ended_is_never_changed_again(store: MemoryStore) -> None:
    ended = finished(job(), {"memories": 3}, NOW + 1)
    await store.save_job(job())
    await store.save_job(ended)
    await store.save_job(advanced(job(), done=1, total=2, at_us=NOW + 2))
    assert await store.job("acme", "1") == ended


async def test_no_job_is_seen_or_changed_by_another_tenant(store: MemoryStore) -> None:
    await store.save_job(job())
    assert await store.job("evil", "1") is None
    assert await store.jobs("evil", limit=10) == ()


async def test_jobs_are_listed_newest_first_in_pages(store: MemoryStore) -> None:
    await asyncio.gather(*(store.save_job(job(f"{number:02}")) for number in range(7)))
    await store.save_job(job("99", tenant="evil"))
    first = await store.jobs("acme", limit=4)
    assert [one.job.id for one in first] == ["06", "05", "04", "03"]
    rest = await store.jobs("acme", limit=4, before=first[-1].job.id)
    assert [one.job.id for one in rest] == ["02", "01", "00"]


async def test_a_job_whose_worker_fell_silent_has_failed(store: MemoryStore) -> None:
    await store.save_job(job("old"))
    await store.save_job(job("new", at_us=NOW + 1))
    await store.sweep_jobs(now_us=NOW + SILENCE_US)
    old, new = await store.job("acme", "old"), await store.job("acme", "new")
    assert old is not None
    assert new is not None
    assert (old.job.state, new.job.state) == ("failed", "running")
    assert "interrupted" in (old.job.error or "")


async def test_what_ended_long_ago_is_forgotten(store: MemoryStore) -> None:
    await store.save_job(finished(job(), {}, NOW))
    await store.sweep_jobs(now_us=NOW + KEPT_US - 1)
    assert await store.job("acme", "1") is not None
    await store.sweep_jobs(now_us=NOW + KEPT_US)
    assert await store.job("acme", "1") is None
