"""Writing memories: create, replace, merge and delete; each is one change, which the store decides."""

from hashlib import blake2b
from typing import Any

from starlette.requests import Request

from ragrid.services.memory.api.answers import Answer
from ragrid.services.memory.api.confinement import check_purge
from ragrid.services.memory.api.headers import condition_of, etag, idempotency_key_of, require_media_type
from ragrid.services.memory.api.operation import (
    BODY_PROBLEMS,
    JSON_TYPE,
    MERGE_PATCH_TYPE,
    NAMESPACE_PROBLEMS,
    QUERY_PROBLEMS,
    WRITE_PROBLEMS,
    Body,
    Operation,
    Success,
    owner_of,
    scope_of,
)
from ragrid.services.memory.api.parameters import (
    IDEMPOTENCY_KEY,
    IF_MATCH,
    IF_THERE_IS_NONE,
    MEMORY_ID,
    NAMESPACE,
    memory_id_of,
)
from ragrid.services.memory.api.parts import Parts
from ragrid.services.memory.api.questions import ON_DUPLICATE, PURGE, is_purge, on_duplicate_of
from ragrid.services.memory.changes import Create, Delete, Idempotency, Patch, Purge, Replace, Scope
from ragrid.services.memory.errors import InvalidMemoryError
from ragrid.services.memory.model import BODY_BYTES, DATA_DEPTH, Memory, MemoryInput
from ragrid.services.memory.protocol.memories import Written
from ragrid.services.memory.validate import is_deep, parse_input, parse_object, unknown_members
from ragrid.web.auth import claims_of, require
from ragrid.web.body import read_body

_WRITE = (*NAMESPACE_PROBLEMS, *WRITE_PROBLEMS, "quota-exceeded")
_CHANGE = (*_WRITE, "invalid-id", "invalid-precondition", "version-conflict", "precondition-required")
_MADE = ("etag", "location")


class MemoryWritingApi:
    """The operations that write one memory."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._store = parts.store
        self._path = f"{parts.base}/memories"

    def operations(self) -> tuple[Operation, ...]:
        """Return each operation."""
        return (*self._changes(), *self._creates())

    def _changes(self) -> tuple[Operation, ...]:
        made = (
            Success(status=201, summary="Made.", schema=Memory, headers=_MADE),
            Success(status=200, summary="Replaced.", schema=Memory, headers=("etag",)),
        )
        return (
            Operation(
                method="PUT",
                path="/memories/{id}",
                id="replaceMemory",
                summary="Makes or replaces the memory at a key of the caller's.",
                permission="memory:write",
                handler=self._replace,
                parameters=(MEMORY_ID, NAMESPACE, IF_MATCH, IF_THERE_IS_NONE),
                body=Body(schema=MemoryInput),
                successes=made,
                problems=(*_CHANGE, *BODY_PROBLEMS, "invalid-memory", "memory-not-found"),
            ),
            Operation(
                method="PATCH",
                path="/memories/{id}",
                id="patchMemory",
                summary="Merges a document into the memory (RFC 7396).",
                permission="memory:write",
                handler=self._patch,
                parameters=(MEMORY_ID, NAMESPACE, IF_MATCH, IF_THERE_IS_NONE),
                body=Body(schema=dict[str, Any], media_type=MERGE_PATCH_TYPE),
                successes=(made[1],),
                problems=(*_CHANGE, *BODY_PROBLEMS, "invalid-memory", "memory-not-found"),
            ),
            Operation(
                method="DELETE",
                path="/memories/{id}",
                id="deleteMemory",
                summary="Removes the memory; its history stays, unless it is purged, which takes memory:admin.",
                permission="memory:write",
                handler=self._delete,
                parameters=(MEMORY_ID, NAMESPACE, IF_MATCH, IF_THERE_IS_NONE, PURGE),
                successes=(Success(status=204, summary="Removed."),),
                problems=(*_CHANGE, *QUERY_PROBLEMS, "memory-not-found"),
            ),
        )

    def _creates(self) -> tuple[Operation, ...]:
        return (
            Operation(
                method="POST",
                path="/memories",
                id="createMemory",
                summary="Makes a memory under an id of the service.",
                permission="memory:write",
                handler=self._create,
                parameters=(NAMESPACE, IDEMPOTENCY_KEY, ON_DUPLICATE),
                body=Body(schema=MemoryInput),
                successes=(
                    Success(status=201, summary="Made.", schema=Memory, headers=(*_MADE, "idempotency-replayed")),
                    Success(
                        status=200,
                        summary="There was one that says the same, and `on_duplicate` is `return`: here it is.",
                        schema=Memory,
                        headers=("etag", "idempotency-replayed"),
                    ),
                ),
                problems=(
                    *_WRITE,
                    *QUERY_PROBLEMS,
                    *BODY_PROBLEMS,
                    "invalid-memory",
                    "invalid-idempotency-key",
                    "idempotency-key-reused",
                    "idempotent-result-gone",
                ),
            ),
        )

    async def _create(self, request: Request) -> Answer:
        scope = scope_of(request)
        on_duplicate = on_duplicate_of(request)
        require_media_type(request, JSON_TYPE)
        key = idempotency_key_of(request)
        body = await read_body(request, BODY_BYTES)
        now_us = self._parts.now_us()
        given = parse_input(body, now_us=now_us)
        idempotency = None if key is None else Idempotency(key, _fingerprint(request, scope, body))
        change = Create(
            scope,
            self._parts.ids.new(now_us),
            claims_of(request).subject,
            now_us,
            given,
            idempotency,
            on_duplicate=on_duplicate,
            owner=owner_of(request),
        )
        return self._written(await self._store.change(change))

    async def _replace(self, request: Request) -> Answer:
        scope = scope_of(request)
        memory_id = memory_id_of(request)
        require_media_type(request, JSON_TYPE)
        condition = condition_of(request)
        body = await read_body(request, BODY_BYTES)
        now_us = self._parts.now_us()
        given = parse_input(body, now_us=now_us)
        written = await self._store.change(
            Replace(scope, memory_id, claims_of(request).subject, now_us, given, condition, owner_of(request))
        )
        return self._written(written)

    async def _patch(self, request: Request) -> Answer:
        scope = scope_of(request)
        memory_id = memory_id_of(request)
        require_media_type(request, MERGE_PATCH_TYPE)
        condition = condition_of(request)
        patch = parse_object(await read_body(request, BODY_BYTES))
        faults = unknown_members(patch)
        if is_deep(patch, DATA_DEPTH + 1):
            faults.append(("", f"nested more than {DATA_DEPTH + 1} levels deep"))
        if faults:
            raise InvalidMemoryError(faults)
        actor, now_us = claims_of(request).subject, self._parts.now_us()
        change = Patch(scope, memory_id, actor, now_us, patch, condition, owner_of(request))
        return self._written(await self._store.change(change))

    async def _delete(self, request: Request) -> Answer:
        scope = scope_of(request)
        memory_id = memory_id_of(request)
        condition = condition_of(request)
        kind: type[Delete | Purge] = Delete
        if is_purge(request):
            require(request, "memory:admin")
            check_purge(claims_of(request))
            kind = Purge
        actor, now_us = claims_of(request).subject, self._parts.now_us()
        await self._store.change(kind(scope, memory_id, actor, now_us, condition, owner_of(request)))
        return Answer(204)

    def _written(self, written: Written) -> Answer:
        headers = {"etag": etag(written.version)}
        if written.is_new:
            headers["location"] = f"{self._path}/{written.id}"
        if written.is_replay:
            headers["idempotency-replayed"] = "true"
        return Answer(201 if written.is_new else 200, written.doc, headers=headers)


def _fingerprint(request: Request, scope: Scope, body: bytes) -> bytes:
    query: bytes = request.scope["query_string"]
    what = scope.namespace.encode() + b"\0" + body + (b"\0" + query if query else b"")
    owner = owner_of(request)
    if owner is not None:
        what += b"\0\0" + owner.encode()
    return blake2b(what, digest_size=16).digest()
