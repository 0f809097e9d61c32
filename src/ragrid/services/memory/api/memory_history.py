"""Histories: every version that one memory had."""

from collections.abc import Mapping
from datetime import datetime

import msgspec
from starlette.requests import Request

from ragrid.services.memory.api.answers import Answer
from ragrid.services.memory.api.operation import (
    NAMESPACE_PROBLEMS,
    PAGING_PROBLEMS,
    Operation,
    Success,
    owner_of,
    scope_of,
)
from ragrid.services.memory.api.parameters import (
    CURSOR,
    LIMIT,
    LIST_LIMIT,
    MEMORY_ID,
    NAMESPACE,
    history_paging_of,
    memory_id_of,
)
from ragrid.services.memory.api.parts import Parts
from ragrid.services.memory.changes import Op, Scope
from ragrid.services.memory.cursor import encode_cursor
from ragrid.services.memory.errors import no_memory
from ragrid.services.memory.model import Memory, moment
from ragrid.services.memory.ownership import is_owned
from ragrid.services.memory.protocol.memories import Event

_encode = msgspec.json.Encoder().encode


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


class MemoryHistoryApi:
    """The operation of histories."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._store = parts.store

    def operations(self) -> tuple[Operation, ...]:
        """Return the one operation."""
        return (
            Operation(
                method="GET",
                path="/memories/{id}/history",
                id="readHistory",
                summary="Lists the versions of a memory, newest first.",
                permission="memory:read",
                handler=self._history,
                parameters=(MEMORY_ID, NAMESPACE, LIMIT, CURSOR),
                successes=(Success(status=200, summary="One page.", schema=HistoryPage),),
                problems=(*NAMESPACE_PROBLEMS, "invalid-id", "memory-not-found", *PAGING_PROBLEMS),
            ),
        )

    async def _history(self, request: Request) -> Answer:
        scope = scope_of(request)
        memory_id = memory_id_of(request)
        walk = ("history", *msgspec.structs.astuple(scope), memory_id)
        limit, before = history_paging_of(request, walk)
        now_us = self._parts.now_us()
        events = await self._store.history(scope, memory_id, now_us=now_us, limit=limit + 1, before=before)
        owner = owner_of(request)
        if events is None or not await is_owned_past(self._parts, scope, memory_id, owner):
            raise no_memory(memory_id, scope.namespace)
        events = tuple(one if one.doc is None or is_owned(one.doc, owner) else _hidden(one) for one in events)
        cursor = encode_cursor(events[limit - 1].seq, walk) if len(events) > limit else None
        return Answer(200, _encode({"events": [_shown(event) for event in events[:limit]], "next_cursor": cursor}))


async def is_owned_past(parts: Parts, scope: Scope, memory_id: str, owner: str | None) -> bool:
    """Tell whether the newest contents of a memory, deleted or not, are the owner's; None owns everything."""
    if owner is None:
        return True
    before: int | None = None
    while True:
        events = await parts.store.history(scope, memory_id, now_us=parts.now_us(), limit=LIST_LIMIT, before=before)
        newest = next((one.doc for one in events or () if one.doc is not None), None)
        if newest is not None or not events:
            return newest is not None and is_owned(newest, owner)
        before = events[-1].seq


def _hidden(event: Event) -> Event:
    """Return a version that was another user's: that it was, and not what it said."""
    return msgspec.structs.replace(event, doc=None, actor="")


def _shown(event: Event) -> Mapping[str, object]:
    return {
        "version": event.version,
        "seq": event.seq,
        "op": event.op,
        "at": moment(event.at_us),
        "actor": event.actor,
        "memory": None if event.doc is None else msgspec.Raw(event.doc),
    }
