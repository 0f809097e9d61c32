"""The records of jobs."""

from typing import Protocol

from ragrid.services.memory.jobs.model import StoredJob


class Jobs(Protocol):
    """Jobs, each within the walls of a tenant. Ids are in the order in which the jobs were made."""

    async def save_job(self, stored: StoredJob) -> None:
        """Keep this as the job's record, durable on return; one that has ended is never changed again."""
        ...

    async def job(self, tenant: str, job_id: str) -> StoredJob | None:
        """Return one job of the tenant's."""
        ...

    async def jobs(self, tenant: str, *, limit: int, before: str | None = None) -> tuple[StoredJob, ...]:
        """Return up to `limit` jobs of the tenant's with an id below `before`, newest first."""
        ...

    async def sweep_jobs(self, *, now_us: int) -> None:
        """Record open jobs that were left as failed, and forget what ended long ago."""
        ...
