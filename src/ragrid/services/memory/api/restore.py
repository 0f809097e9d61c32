"""Restoring: an earlier version of a memory becomes the current one again, also after a delete."""

import msgspec
from starlette.requests import Request

from ragrid.services.memory.api.answers import Answer
from ragrid.services.memory.api.headers import condition_of, etag, require_media_type
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
from ragrid.services.memory.api.parameters import IF_MATCH, IF_THERE_IS_NONE, MEMORY_ID, NAMESPACE, memory_id_of
from ragrid.services.memory.api.parts import Parts
from ragrid.services.memory.api.questions import VersionNumber
from ragrid.services.memory.changes import Restore
from ragrid.services.memory.model import BODY_BYTES, Memory
from ragrid.web.auth import claims_of
from ragrid.web.body import decode_json, read_body


class RestoreRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which version to bring back; without one, the version before the current: the last change is undone."""

    version: VersionNumber | None = None


class RestoreApi:
    """The operation of restoring."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def operations(self) -> tuple[Operation, ...]:
        """Return each operation."""
        return (
            Operation(
                method="POST",
                path="/memories/{id}/restore",
                id="restoreMemory",
                summary="Makes an earlier version the current one again, as a new version; also after a delete.",
                permission="memory:write",
                handler=self._restore,
                parameters=(MEMORY_ID, NAMESPACE, IF_MATCH, IF_THERE_IS_NONE),
                body=Body(schema=RestoreRequest),
                successes=(Success(status=200, summary="The memory as it is now.", schema=Memory, headers=("etag",)),),
                problems=(
                    *NAMESPACE_PROBLEMS,
                    *WRITE_PROBLEMS,
                    *BODY_PROBLEMS,
                    "invalid-id",
                    "invalid-precondition",
                    "precondition-required",
                    "version-conflict",
                    "invalid-body",
                    "invalid-memory",
                    "memory-not-found",
                    "quota-exceeded",
                ),
            ),
        )

    async def _restore(self, request: Request) -> Answer:
        scope = scope_of(request)
        memory_id = memory_id_of(request)
        require_media_type(request, JSON_TYPE)
        condition = condition_of(request)
        wanted = decode_json(await read_body(request, BODY_BYTES), RestoreRequest)
        actor, now_us = claims_of(request).subject, self._parts.now_us()
        change = Restore(scope, memory_id, actor, now_us, wanted.version, condition, owner_of(request))
        written = await self._parts.store.change(change)
        return Answer(200, written.doc, headers={"etag": etag(written.version)})
