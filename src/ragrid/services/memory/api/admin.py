"""What administrators do: embed again, and make a backup."""

import asyncio
from functools import partial
from typing import Any, Literal

import msgspec
from starlette.requests import Request

from ragrid.services.memory.api.answers import Answer
from ragrid.services.memory.api.operation import WRITE_PROBLEMS, Operation, Success
from ragrid.services.memory.api.parts import Parts
from ragrid.services.memory.jobs.model import Job, StoredJob
from ragrid.services.memory.jobs.runner import Progress
from ragrid.services.memory.protocol.embeddings import Model
from ragrid.web.auth import claims_of
from ragrid.web.problem import Problem

#: How often a job looks whether the worker has come so far, seconds.
LOOK_S = 0.1
#: When to ask again while another tenant's backup is made, seconds.
RUNNING_RETRY_S = "10"

_encode = msgspec.json.Encoder().encode


class ReembedResult(msgspec.Struct, frozen=True):
    """What came of it: texts that had been given up and were tried again, and the model that searches use now."""

    retried: int
    model: str
    state: Literal["complete"]


class BackupResult(msgspec.Struct, frozen=True):
    """What came of it: its name in the folder of backups, the last change in it, and the backups that there are now."""

    name: str
    bytes: int
    seq: int
    took_ms: float
    kept: tuple[str, ...]


class AdminApi:
    """The operations of administrators."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._starting = asyncio.Lock()
        self._backing_up: StoredJob | None = None

    def operations(self) -> tuple[Operation, ...]:
        """Return each operation."""
        return (
            Operation(
                method="POST",
                path="/admin/reembed",
                id="reembed",
                summary="Tries again what the embedder refused, and follows until no text of before waits for a vector "
                "and the model that is filled in, if there is one, is in use.",
                permission="memory:admin",
                handler=self._reembed,
                successes=(Success(status=202, summary="The job that began.", schema=Job, headers=("location",)),),
                problems=(*WRITE_PROBLEMS, "no-embedder"),
            ),
            Operation(
                method="POST",
                path="/admin/backup",
                id="backup",
                summary="Makes a consistent copy of the whole store in the service's own folder, while it serves. "
                "While the tenant's backup runs, its job is the answer.",
                permission="memory:admin",
                handler=self._backup,
                successes=(Success(status=202, summary="The job that makes it.", schema=Job, headers=("location",)),),
                problems=(*WRITE_PROBLEMS, "backup-running", "backup-elsewhere"),
            ),
        )

    async def _reembed(self, request: Request) -> Answer:
        claims = claims_of(request)
        models = await self._parts.store.models()
        if models.active is None or not self._parts.recall.has_embedder:
            raise Problem(409, "no-embedder", "the service has no embedder; name one in the grid file")
        named = [one for one in (models.active, models.filling) if one is not None]
        work = partial(self._work, claims.tenant, named)
        started = await self._parts.jobs.start("reembed", work, tenant=claims.tenant, actor=claims.subject)
        return self._accepted(started)

    async def _backup(self, request: Request) -> Answer:
        claims = claims_of(request)
        self._parts.store.check_backup()
        async with self._starting:
            running = self._backing_up
            if running is None:
                running = await self._parts.jobs.start(
                    "backup", self._back_up, tenant=claims.tenant, actor=claims.subject
                )
                self._backing_up = running
            elif running.tenant != claims.tenant:
                detail = "a backup that another tenant asked for is being made, and holds this one's, too; ask again"
                raise Problem(409, "backup-running", detail, headers={"Retry-After": RUNNING_RETRY_S})
        return self._accepted(await self._parts.store.job(claims.tenant, running.job.id) or running)

    async def _back_up(self, progress: Progress) -> dict[str, Any]:
        began_us = self._parts.now_us()

        def note(done: int, total: int) -> None:
            progress.done, progress.total = done, total

        try:
            made = await self._parts.store.back_up(now_us=began_us, note=note)
        finally:
            self._backing_up = None
        took_ms = (self._parts.now_us() - began_us) / 1000
        found = BackupResult(made.name, made.size_bytes, made.seq, took_ms, made.kept)
        return msgspec.to_builtins(found)  # type: ignore[no-any-return]  # a dict

    def _accepted(self, stored: StoredJob) -> Answer:
        location = f"{self._parts.base}/jobs/{stored.job.id}"
        return Answer(202, _encode(stored.job), headers={"location": location})

    async def _work(self, tenant: str, models: list[Model], progress: Progress) -> dict[str, Any]:
        store, began_us = self._parts.store, self._parts.now_us()
        for model in models:
            progress.done += await store.retry_refused(model.name, tenant=tenant, now_us=began_us)
        target = models[-1].name
        while True:
            oldest_us = (await store.outbox(target)).oldest_us
            active = (await store.models()).active
            if (oldest_us is None or oldest_us > began_us) and active is not None and active.name == target:
                return msgspec.to_builtins(ReembedResult(progress.done, active.name, "complete"))  # type: ignore[no-any-return]  # a dict
            await asyncio.sleep(LOOK_S)
