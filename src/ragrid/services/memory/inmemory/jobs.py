"""The records of jobs, in dictionaries."""

from ragrid.services.memory.inmemory.state import State
from ragrid.services.memory.jobs.model import KEPT_US, StoredJob, left


class InMemoryJobs(State):
    """See protocol/jobs.py."""

    def __init__(self) -> None:
        super().__init__()
        self._jobs: dict[str, StoredJob] = {}

    async def save_job(self, stored: StoredJob) -> None:
        """See Jobs."""
        known = self._jobs.get(stored.job.id)
        if known is None or not known.is_ended:
            self._jobs[stored.job.id] = stored

    async def job(self, tenant: str, job_id: str) -> StoredJob | None:
        """See Jobs."""
        known = self._jobs.get(job_id)
        return known if known is not None and known.tenant == tenant else None

    async def jobs(self, tenant: str, *, limit: int, before: str | None = None) -> tuple[StoredJob, ...]:
        """See Jobs."""
        found = sorted((one for one in self._jobs.values() if one.tenant == tenant), key=lambda one: one.job.id)
        return tuple(one for one in reversed(found) if before is None or one.job.id < before)[:limit]

    async def sweep_jobs(self, *, now_us: int) -> None:
        """See Jobs."""
        self._jobs = {
            job_id: left(one, now_us)
            for job_id, one in self._jobs.items()
            if not one.is_ended or now_us - one.updated_us < KEPT_US
        }
