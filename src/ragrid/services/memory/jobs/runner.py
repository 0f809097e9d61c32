"""Runs jobs as tasks of this process, and keeps their records up to date."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from ragrid.errors import RagridError
from ragrid.services.memory.ids import IdSource
from ragrid.services.memory.jobs.model import StoredJob, advanced, begun, failed, finished
from ragrid.services.memory.protocol.jobs import Jobs
from ragrid.system.clock import Clock

logger = logging.getLogger(__name__)

#: How often the record of a running job is written at least, seconds.
HEARTBEAT_S = 10.0


class Progress:
    """What a job's work says about itself while it runs."""

    def __init__(self) -> None:
        self.done = 0
        self.total: int | None = None


Work = Callable[[Progress], Awaitable[dict[str, Any]]]


class JobRunner:
    """Starts jobs; `close` ends those that run, and their records say so."""

    def __init__(self, store: Jobs, clock: Clock, *, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._store = store
        self._clock = clock
        self._heartbeat_s = heartbeat_s
        self._ids = IdSource()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, kind: str, work: Work, *, tenant: str, actor: str) -> StoredJob:
        """Record a job, let `work` run, and return the record; what `work` returns is the job's result."""
        at_us = self._now_us()
        stored = begun(self._ids.new(at_us), kind, tenant=tenant, actor=actor, at_us=at_us)
        await self._store.save_job(stored)
        task = asyncio.create_task(self._run(stored, work), name=f"job-{stored.job.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return stored

    async def close(self) -> None:
        """End what runs; each record says `interrupted`. To be called before the store is closed."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, stored: StoredJob, work: Work) -> None:
        progress = Progress()
        reporting = asyncio.create_task(self._report(stored, progress))
        try:
            result = await work(progress)
            ended = finished(self._with(stored, progress), result, self._now_us())
        except asyncio.CancelledError:
            reason = "interrupted: the service ended while it ran; start it again"
            ended = failed(self._with(stored, progress), reason, self._now_us())
        except RagridError as error:
            ended = failed(self._with(stored, progress), str(error), self._now_us())
        except Exception as error:  # the boundary of a job: the service lives on, the record says that it failed
            logger.exception("a job failed", extra={"job": stored.job.id, "kind": stored.job.kind})
            ended = failed(self._with(stored, progress), f"unexpected fault ({type(error).__name__})", self._now_us())
        reporting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reporting
        try:
            await self._store.save_job(ended)
        except RagridError as error:  # nobody is heard of any more, so the record will say that it was left
            logger.warning("a job's end was not recorded", extra={"job": stored.job.id, "reason": str(error)})

    async def _report(self, stored: StoredJob, progress: Progress) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_s)
            try:
                await self._store.save_job(self._with(stored, progress))
            except RagridError as error:
                logger.warning("a job's progress was not recorded", extra={"reason": str(error)})

    def _with(self, stored: StoredJob, progress: Progress) -> StoredJob:
        return advanced(stored, done=progress.done, total=progress.total, at_us=self._now_us())

    def _now_us(self) -> int:
        return int(self._clock.now_s() * 1_000_000)
