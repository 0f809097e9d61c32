"""Reading memories: one of them as it is or was, or a list of those that a filter matches."""

import msgspec
from starlette.requests import Request

from ragrid.services.memory.api.answers import Answer
from ragrid.services.memory.api.confinement import held_to
from ragrid.services.memory.api.headers import etag, is_unmodified
from ragrid.services.memory.api.included import INCLUDE, wants_status, with_status
from ragrid.services.memory.api.memory_history import is_owned_past
from ragrid.services.memory.api.operation import (
    NAMESPACE_PROBLEMS,
    PAGING_PROBLEMS,
    QUERY_PROBLEMS,
    Operation,
    Parameter,
    Success,
    owner_of,
    scope_of,
)
from ragrid.services.memory.api.parameters import (
    CURSOR,
    IF_NONE_MATCH,
    LIMIT,
    MEMORY_ID,
    NAMESPACE,
    filter_of,
    memory_id_of,
    paging_of,
    parameters_of,
)
from ragrid.services.memory.api.parts import Parts
from ragrid.services.memory.api.questions import AS_OF, VERSION, past_of
from ragrid.services.memory.changes import Scope
from ragrid.services.memory.cursor import encode_cursor
from ragrid.services.memory.errors import no_memory
from ragrid.services.memory.filters.parse import FilterNode
from ragrid.services.memory.model import Memory, Reference, Tag, Type
from ragrid.services.memory.ownership import is_owned

_encode = msgspec.json.Encoder().encode

_FILTERS = (
    Parameter(name="type", place="query", schema=Type, summary="Only memories of this type."),
    Parameter(name="tag", place="query", schema=tuple[Tag, ...], summary="Only memories with all of these tags."),
    Parameter(name="user_id", place="query", schema=Reference, summary="Only memories of this user."),
    Parameter(name="agent_id", place="query", schema=Reference, summary="Only memories of this agent."),
    Parameter(name="session_id", place="query", schema=Reference, summary="Only memories of this session."),
    Parameter(name="filter", place="query", schema=FilterNode, summary="Comparisons as JSON, as in a search."),
)


class MemoryPage(msgspec.Struct, frozen=True):
    """Some memories, newest first."""

    memories: tuple[Memory, ...]
    next_cursor: str | None


class MemoryReadingApi:
    """The operations that read memories."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._store = parts.store

    def operations(self) -> tuple[Operation, ...]:
        """Return each operation, the busiest first."""
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
                problems=(
                    *NAMESPACE_PROBLEMS,
                    "invalid-id",
                    "memory-not-found",
                    *QUERY_PROBLEMS,
                    "invalid-precondition",
                ),
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
        )

    async def _read(self, request: Request) -> Answer:
        scope = scope_of(request)
        memory_id = memory_id_of(request)
        now_us = self._parts.now_us()
        if request.scope["query_string"]:
            if "include" in request.query_params:
                return await self._read_with_status(request, scope, memory_id)
            version, as_of_us = past_of(request)
            found = await self._store.read_past(scope, memory_id, now_us=now_us, version=version, as_of_us=as_of_us)
            if not await is_owned_past(self._parts, scope, memory_id, owner_of(request)):
                found = None
        else:
            found = await self._store.read(scope, memory_id, now_us=now_us)
        if found is None or not is_owned(found.doc, owner_of(request)):
            raise no_memory(memory_id, scope.namespace)
        headers = {"etag": etag(found.version)}
        if is_unmodified(request, found.version):
            return Answer(304, headers=headers)
        return Answer(200, found.doc, headers=headers)

    async def _read_with_status(self, request: Request, scope: Scope, memory_id: str) -> Answer:
        wants_status(parameters_of(request, ("include",)))
        found = await self._store.read(scope, memory_id, now_us=self._parts.now_us())
        if found is None or not is_owned(found.doc, owner_of(request)):
            raise no_memory(memory_id, scope.namespace)
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
