"""The routes of memories: each reads the request, asks the store once, and sends what the store rendered."""

from collections.abc import Mapping
from datetime import datetime
from hashlib import blake2b
from typing import Any

import msgspec
from starlette.requests import Request

from ragrid.services.memory.api.answers import Answer
from ragrid.services.memory.api.confinement import check_purge, held_to
from ragrid.services.memory.api.headers import (
    condition_of,
    etag,
    idempotency_key_of,
    is_unmodified,
    require_media_type,
)
from ragrid.services.memory.api.included import INCLUDE, wants_status, with_status
from ragrid.services.memory.api.operation import (
    BODY_PROBLEMS,
    JSON_TYPE,
    MERGE_PATCH_TYPE,
    NAMESPACE_PROBLEMS,
    PAGING_PROBLEMS,
    QUERY_PROBLEMS,
    WRITE_PROBLEMS,
    Body,
    Operation,
    Parameter,
    Success,
    owner_of,
    scope_of,
)
from ragrid.services.memory.api.parameters import (
    CURSOR,
    IDEMPOTENCY_KEY,
    IF_MATCH,
    IF_NONE_MATCH,
    IF_THERE_IS_NONE,
    LIMIT,
    LIST_LIMIT,
    MEMORY_ID,
    NAMESPACE,
    filter_of,
    history_paging_of,
    memory_id_of,
    paging_of,
    parameters_of,
)
from ragrid.services.memory.api.parts import Parts
from ragrid.services.memory.api.questions import (
    AS_OF,
    ON_DUPLICATE,
    PURGE,
    VERSION,
    is_purge,
    on_duplicate_of,
    past_of,
)
from ragrid.services.memory.changes import Create, Delete, Idempotency, Op, Patch, Purge, Replace, Scope
from ragrid.services.memory.cursor import encode_cursor
from ragrid.services.memory.errors import InvalidMemoryError, NotFoundError
from ragrid.services.memory.filters.parse import FilterNode
from ragrid.services.memory.model import BODY_BYTES, DATA_DEPTH, Memory, MemoryInput, Reference, Tag, Type, moment
from ragrid.services.memory.ownership import is_owned
from ragrid.services.memory.protocol.memories import Event, Written
from ragrid.services.memory.validate import is_deep, parse_input, parse_object, unknown_members
from ragrid.web.auth import claims_of, require
from ragrid.web.body import read_body

_encode = msgspec.json.Encoder().encode

_FILTERS = (
    Parameter(name="type", place="query", schema=Type, summary="Only memories of this type."),
    Parameter(name="tag", place="query", schema=tuple[Tag, ...], summary="Only memories with all of these tags."),
    Parameter(name="user_id", place="query", schema=Reference, summary="Only memories of this user."),
    Parameter(name="agent_id", place="query", schema=Reference, summary="Only memories of this agent."),
    Parameter(name="session_id", place="query", schema=Reference, summary="Only memories of this session."),
    Parameter(name="filter", place="query", schema=FilterNode, summary="Comparisons as JSON, as in a search."),
)

_READ = (*NAMESPACE_PROBLEMS, "invalid-id", "memory-not-found")
_WRITE = (*NAMESPACE_PROBLEMS, *WRITE_PROBLEMS, "quota-exceeded")
_CHANGE = (*_WRITE, "invalid-id", "invalid-precondition", "version-conflict", "precondition-required")
_MADE = ("etag", "location")


class MemoryPage(msgspec.Struct, frozen=True):
    """Some memories, newest first."""

    memories: tuple[Memory, ...]
    next_cursor: str | None


class ShownEvent(msgspec.Struct, frozen=True):
    """One version in a history; `memory` is null for an end, and where the content has expired."""

    version: int
    seq: int
    op: Op
    at: datetime
    actor: str
    memory: Memory | None


class HistoryPage(msgspec.Struct, frozen=True):
    """Some versions of one memory, newest first."""

    events: tuple[ShownEvent, ...]
    next_cursor: str | None


class MemoriesApi:
    """The operations of memories, their lists and their histories."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._store = parts.store
        self._path = f"{parts.base}/memories"

    def operations(self) -> tuple[Operation, ...]:
        """Return each operation, the busiest first."""
        return (*self._reads(), *self._changes(), *self._creates())

    def _reads(self) -> tuple[Operation, ...]:
        return (
            Operation(
                method="GET",
                path="/memories/{id}",
                id="readMemory",
                summary="Returns the current version, or an earlier one.",
                permission="memory:read",
                handler=self._read,
                parameters=(MEMORY_ID, NAMESPACE, IF_NONE_MATCH, VERSION, AS_OF, INCLUDE),
                successes=(
                    Success(status=200, summary="The memory.", schema=Memory, headers=("etag",)),
                    Success(status=304, summary="The caller has this version already.", headers=("etag",)),
                ),
                problems=(*_READ, *QUERY_PROBLEMS, "invalid-precondition"),
            ),
            Operation(
                method="GET",
                path="/memories",
                id="listMemories",
                summary="Lists memories, newest first; a walk shows each that exists all the while exactly once.",
                permission="memory:read",
                handler=self._list,
                parameters=(NAMESPACE, *_FILTERS, INCLUDE, LIMIT, CURSOR),
                successes=(Success(status=200, summary="One page.", schema=MemoryPage),),
                problems=(*NAMESPACE_PROBLEMS, *PAGING_PROBLEMS, "invalid-json", "invalid-body", "invalid-filter"),
            ),
            Operation(
                method="GET",
                path="/memories/{id}/history",
                id="readHistory",
                summary="Lists the versions of a memory, newest first.",
                permission="memory:read",
                handler=self._history,
                parameters=(MEMORY_ID, NAMESPACE, LIMIT, CURSOR),
                successes=(Success(status=200, summary="One page.", schema=HistoryPage),),
                problems=(*_READ, *PAGING_PROBLEMS),
            ),
        )

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

    async def _read(self, request: Request) -> Answer:
        scope = scope_of(request)
        memory_id = memory_id_of(request)
        now_us = self._parts.now_us()
        if request.scope["query_string"]:
            if "include" in request.query_params:
                return await self._read_with_status(request, scope, memory_id)
            version, as_of_us = past_of(request)
            found = await self._store.read_past(scope, memory_id, now_us=now_us, version=version, as_of_us=as_of_us)
            if not await self._is_own(scope, memory_id, owner_of(request)):
                found = None
        else:
            found = await self._store.read(scope, memory_id, now_us=now_us)
        if found is None or not is_owned(found.doc, owner_of(request)):
            raise _not_found(memory_id, scope)
        headers = {"etag": etag(found.version)}
        if is_unmodified(request, found.version):
            return Answer(304, headers=headers)
        return Answer(200, found.doc, headers=headers)

    async def _read_with_status(self, request: Request, scope: Scope, memory_id: str) -> Answer:
        wants_status(parameters_of(request, ("include",)))
        found = await self._store.read(scope, memory_id, now_us=self._parts.now_us())
        if found is None or not is_owned(found.doc, owner_of(request)):
            raise _not_found(memory_id, scope)
        (doc,) = await with_status(self._store, scope, [found.doc])
        return Answer(200, doc, headers={"cache-control": "no-store"})

    async def _list(self, request: Request) -> Answer:
        scope = scope_of(request)
        wanted = held_to(filter_of(request), owner_of(request))
        walk = ("list", *msgspec.structs.astuple(scope), *msgspec.structs.astuple(wanted))
        limit, before = paging_of(request, walk)
        page = await self._store.page(scope, wanted, now_us=self._parts.now_us(), limit=limit, before=before)
        docs = await with_status(self._store, scope, page.docs) if wants_status(request.query_params) else page.docs
        after = page.next_position
        cursor = None if after is None else encode_cursor(after, walk)
        return Answer(200, _encode({"memories": [msgspec.Raw(doc) for doc in docs], "next_cursor": cursor}))

    async def _history(self, request: Request) -> Answer:
        scope = scope_of(request)
        memory_id = memory_id_of(request)
        walk = ("history", *msgspec.structs.astuple(scope), memory_id)
        limit, before = history_paging_of(request, walk)
        now_us = self._parts.now_us()
        events = await self._store.history(scope, memory_id, now_us=now_us, limit=limit + 1, before=before)
        owner = owner_of(request)
        if events is None or not await self._is_own(scope, memory_id, owner):
            raise _not_found(memory_id, scope)
        events = tuple(one if one.doc is None or is_owned(one.doc, owner) else _hidden(one) for one in events)
        cursor = encode_cursor(events[limit - 1].seq, walk) if len(events) > limit else None
        return Answer(200, _encode({"events": [_shown(event) for event in events[:limit]], "next_cursor": cursor}))

    async def _is_own(self, scope: Scope, memory_id: str, owner: str | None) -> bool:
        """Tell whether the newest contents of a memory, deleted or not, are the owner's; None owns everything."""
        if owner is None:
            return True
        before: int | None = None
        while True:
            events = await self._store.history(
                scope, memory_id, now_us=self._parts.now_us(), limit=LIST_LIMIT, before=before
            )
            newest = next((one.doc for one in events or () if one.doc is not None), None)
            if newest is not None or not events:
                return newest is not None and is_owned(newest, owner)
            before = events[-1].seq

    def _written(self, written: Written) -> Answer:
        headers = {"etag": etag(written.version)}
        if written.is_new:
            headers["location"] = f"{self._path}/{written.id}"
        if written.is_replay:
            headers["idempotency-replayed"] = "true"
        return Answer(201 if written.is_new else 200, written.doc, headers=headers)


def _not_found(memory_id: str, scope: Scope) -> NotFoundError:
    return NotFoundError(f"no memory {memory_id!r} in namespace {scope.namespace!r}")


def _hidden(event: Event) -> Event:
    """Return a version that was another user's: that it was, and not what it said."""
    return msgspec.structs.replace(event, doc=None, actor="")


def _fingerprint(request: Request, scope: Scope, body: bytes) -> bytes:
    query: bytes = request.scope["query_string"]
    what = scope.namespace.encode() + b"\0" + body + (b"\0" + query if query else b"")
    owner = owner_of(request)
    if owner is not None:
        what += b"\0\0" + owner.encode()
    return blake2b(what, digest_size=16).digest()


def _shown(event: Event) -> Mapping[str, object]:
    return {
        "version": event.version,
        "seq": event.seq,
        "op": event.op,
        "at": moment(event.at_us),
        "actor": event.actor,
        "memory": None if event.doc is None else msgspec.Raw(event.doc),
    }
