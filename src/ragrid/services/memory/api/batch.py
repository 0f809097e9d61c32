"""Batches: up to a thousand changes in one request and one commit, each with an answer of its own."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.requests import Request

from ragrid.errors import RagridError
from ragrid.services.memory.api.answers import Answer, problem_of
from ragrid.services.memory.api.batch_operations import Author, BatchOperation, change_of, located
from ragrid.services.memory.api.headers import require_media_type
from ragrid.services.memory.api.operation import (
    BODY_PROBLEMS,
    JSON_TYPE,
    NAMESPACE_PROBLEMS,
    WRITE_PROBLEMS,
    Body,
    Operation,
    Success,
    owner_of,
    scope_of,
)
from ragrid.services.memory.api.parameters import NAMESPACE
from ragrid.services.memory.api.parts import Parts
from ragrid.services.memory.changes import Change
from ragrid.services.memory.errors import InvalidMemoryError
from ragrid.services.memory.model import Memory
from ragrid.services.memory.protocol.memories import Written
from ragrid.web.auth import claims_of
from ragrid.web.body import decode_json, read_body
from ragrid.web.problem import Problem

BATCH_OPERATIONS = 1000
BATCH_BYTES = 8 * 1024 * 1024

_encode = msgspec.json.Encoder().encode


class BatchRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Changes to carry out in order, each seeing those before it; `atomic`: all of them or none."""

    operations: Annotated[tuple[BatchOperation, ...], Meta(min_length=1, max_length=BATCH_OPERATIONS)]
    atomic: bool = False
    #: Send back each memory, and not its version alone.
    documents: bool = False


class _RawRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """BatchRequest, with each operation as it came: one that is wrong must not hide what the others are."""

    operations: Annotated[tuple[msgspec.Raw, ...], Meta(min_length=1, max_length=BATCH_OPERATIONS)]
    atomic: bool = False
    documents: bool = False


class BatchResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of one operation: the status it would have had alone, and the memory or the problem.

    424 marks what an atomic batch did not carry out because of another operation.
    """

    status: int
    id: str | None = None
    version: int | None = None
    memory: Memory | None = None
    problem: dict[str, Any] | None = None


class BatchAnswer(msgspec.Struct, frozen=True):
    """What came of each operation, in the order of the request."""

    results: tuple[BatchResult, ...]


class BatchApi:
    """The operation of batches."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def operations(self) -> tuple[Operation, ...]:
        """Return each operation."""
        return (
            Operation(
                method="POST",
                path="/memories/batch",
                id="changeMemories",
                summary="Carries out several changes in one commit, all or none of them if so wished.",
                permission="memory:write",
                handler=self._batch,
                parameters=(NAMESPACE,),
                body=Body(schema=BatchRequest, limit_bytes=BATCH_BYTES),
                successes=(Success(status=200, summary="An answer to each operation.", schema=BatchAnswer),),
                problems=(*NAMESPACE_PROBLEMS, *WRITE_PROBLEMS, *BODY_PROBLEMS, "invalid-body", "batch-refused"),
            ),
        )

    async def _batch(self, request: Request) -> Answer:
        author = Author(scope_of(request), claims_of(request).subject, self._parts.now_us(), owner_of(request))
        require_media_type(request, JSON_TYPE)
        asked = decode_json(await read_body(request, BATCH_BYTES), _RawRequest)
        changes = [self._change(bytes(raw), author) for raw in asked.operations]
        sound = [one for one in changes if not isinstance(one, RagridError)]
        if asked.atomic and len(sound) < len(changes):
            raise _refused([one if isinstance(one, RagridError) else None for one in changes])
        found = await self._parts.store.change_all(sound, is_atomic=asked.atomic) if sound else ()
        told = iter(_located(change, one) for change, one in zip(sound, found, strict=True))
        results = [one if isinstance(one, RagridError) else next(told) for one in changes]
        if asked.atomic and any(isinstance(one, RagridError) for one in results):
            raise _refused(results)
        return Answer(200, _encode({"results": [_shown(one, with_memory=asked.documents) for one in results]}))

    def _change(self, raw: bytes, author: Author) -> Change | InvalidMemoryError:
        try:
            return change_of(raw, author, self._parts.ids)
        except InvalidMemoryError as error:
            return error


def _located(change: Change, result: Written | RagridError | None) -> Written | RagridError | None:
    return located(change, result) if isinstance(result, InvalidMemoryError) else result


def _shown(result: Written | RagridError | None, *, with_memory: bool) -> dict[str, Any]:
    if result is None:
        return {"status": 424}
    if isinstance(result, RagridError):
        problem = problem_of(result).document()
        return {"status": problem["status"], "problem": problem}
    status = 201 if result.is_new else (200 if result.doc else 204)
    shown: dict[str, Any] = {"status": status, "id": result.id, "version": result.version}
    if with_memory and result.doc:
        shown["memory"] = msgspec.Raw(result.doc)
    return shown


def _refused(results: Sequence[Written | RagridError | None]) -> Problem:
    """Return the refusal of an atomic batch; `results` says of each operation what was wrong with it."""
    shown = [_shown(one if isinstance(one, RagridError) else None, with_memory=False) for one in results]
    wrong = [number for number, one in enumerate(shown) if one["status"] != 424]
    detail = f"operation {wrong[0]} was refused, and so nothing was carried out; `results` says why"
    return Problem(409, "batch-refused", detail, members={"results": shown})
