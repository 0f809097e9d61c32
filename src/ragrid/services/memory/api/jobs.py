"""Jobs: what became of work that takes longer than a request."""

import msgspec
from starlette.requests import Request

from ragrid.services.memory.api.answers import Answer
from ragrid.services.memory.api.operation import PAGING_PROBLEMS, Operation, Parameter, Success
from ragrid.services.memory.api.parameters import (
    LIMIT,
    LIST_DEFAULT,
    LIST_LIMIT,
    id_parameter,
    parameters_of,
    whole_number,
)
from ragrid.services.memory.api.parts import Parts
from ragrid.services.memory.jobs.model import Job, StoredJob, left
from ragrid.services.memory.model import MemoryId
from ragrid.web.auth import claims_of
from ragrid.web.problem import Problem

_encode = msgspec.json.Encoder().encode

_JOB_ID = Parameter(
    name="id", place="path", schema=MemoryId, summary="The id that the start of the job gave.", is_required=True
)
_BEFORE = Parameter(name="before", place="query", schema=MemoryId, summary="Only jobs older than the one with this id.")


class JobsPage(msgspec.Struct, frozen=True):
    """Some jobs, newest first; `next_before` goes on after them."""

    jobs: tuple[Job, ...]
    next_before: str | None


class JobsApi:
    """The operations of jobs."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def operations(self) -> tuple[Operation, ...]:
        """Return each operation."""
        return (
            Operation(
                method="GET",
                path="/jobs/{id}",
                id="readJob",
                summary="Tells how far a job of the tenant is, and what came of it.",
                permission="memory:read",
                handler=self._read,
                parameters=(_JOB_ID,),
                successes=(Success(status=200, summary="The job.", schema=Job),),
                problems=("invalid-parameter", "job-not-found"),
            ),
            Operation(
                method="GET",
                path="/jobs",
                id="listJobs",
                summary="Lists the jobs of the tenant, newest first; those that ended are kept for seven days.",
                permission="memory:read",
                handler=self._list,
                parameters=(LIMIT, _BEFORE),
                successes=(Success(status=200, summary="One page.", schema=JobsPage),),
                problems=tuple(one for one in PAGING_PROBLEMS if one != "invalid-cursor"),
            ),
        )

    async def _read(self, request: Request) -> Answer:
        job_id = id_parameter(request.path_params, "id") or ""
        found = await self._parts.store.job(claims_of(request).tenant, job_id)
        if found is None:
            raise Problem(404, "job-not-found", f"no job {job_id[:64]!r}; jobs are forgotten a week after their end")
        return Answer(200, _encode(self._seen(found)))

    async def _list(self, request: Request) -> Answer:
        given = parameters_of(request, ("limit", "before"))
        before = id_parameter(given, "before")
        limit = whole_number(given, "limit", low=1, high=LIST_LIMIT, default=LIST_DEFAULT)
        found = await self._parts.store.jobs(claims_of(request).tenant, limit=limit + 1, before=before)
        shown = [self._seen(one) for one in found[:limit]]
        next_before = shown[-1].id if len(found) > limit else None
        return Answer(200, _encode({"jobs": shown, "next_before": next_before}))

    def _seen(self, stored: StoredJob) -> Job:
        return left(stored, self._parts.now_us()).job
