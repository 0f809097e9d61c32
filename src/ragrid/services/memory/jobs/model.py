"""A job: work that somebody started and anybody of the tenant may look after. Pure.

running ──► done
   └──────► failed     also when whoever did it was not heard of for a while
"""

from datetime import datetime
from typing import Any, Literal

import msgspec

from ragrid.services.memory.model import microseconds, moment

#: A job whose worker was not heard of for so long has been left, microseconds. Workers speak up every 10 s.
SILENCE_US = 60_000_000
#: What has ended is kept this long: seven days, microseconds.
KEPT_US = 7 * 86_400_000_000


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One job as it is kept and sent. `done` of `total` steps are behind it; `total` is null until it is known."""

    id: str
    kind: str
    state: Literal["running", "done", "failed"]
    done: int = 0
    total: int | None = None
    result: dict[str, Any] | None = None
    error: str | None = None
    created_at: datetime
    created_by: str
    updated_at: datetime
    ended_at: datetime | None = None


class StoredJob(msgspec.Struct, frozen=True):
    """A job within the walls of its tenant."""

    tenant: str
    job: Job

    @property
    def updated_us(self) -> int:
        """When it was last heard of."""
        return microseconds(self.job.updated_at)

    @property
    def is_ended(self) -> bool:
        """Nothing of it changes any more."""
        return self.job.state != "running"


def begun(job_id: str, kind: str, *, tenant: str, actor: str, at_us: int) -> StoredJob:
    """Return a job that begins."""
    at = moment(at_us)
    return StoredJob(tenant, Job(id=job_id, kind=kind, state="running", created_at=at, created_by=actor, updated_at=at))


def advanced(stored: StoredJob, *, done: int, total: int | None, at_us: int) -> StoredJob:
    """Return the job with its progress as of `at_us`."""
    job = msgspec.structs.replace(stored.job, done=done, total=total, updated_at=moment(at_us))
    return StoredJob(stored.tenant, job)


def finished(stored: StoredJob, result: dict[str, Any], at_us: int) -> StoredJob:
    """Return the job that came to its end, with what came of it."""
    at = moment(at_us)
    job = msgspec.structs.replace(stored.job, state="done", result=result, updated_at=at, ended_at=at)
    return StoredJob(stored.tenant, job)


def failed(stored: StoredJob, error: str, at_us: int) -> StoredJob:
    """Return the job that will come to nothing any more."""
    at = moment(at_us)
    job = msgspec.structs.replace(stored.job, state="failed", error=error, updated_at=at, ended_at=at)
    return StoredJob(stored.tenant, job)


def left(stored: StoredJob, at_us: int) -> StoredJob:
    """Return the job as its tenant sees it once nobody was heard of for SILENCE_US; others are returned as they are."""
    if stored.is_ended or at_us - stored.updated_us < SILENCE_US:
        return stored
    return failed(stored, "interrupted: the service ended while it ran; start it again", at_us)
