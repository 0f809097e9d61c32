"""The change feed: a page of changes, waiting for the next one when asked to; or all of them as they come."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.types import ASGIApp

from ragrid.errors import RagridError
from ragrid.services.memory.api.answers import Answer, is_refusal, problem_of
from ragrid.services.memory.api.operation import NAMESPACE_PROBLEMS, Operation, Parameter, Success, scope_of
from ragrid.services.memory.api.parameters import NAMESPACE, parameters_of, whole_number
from ragrid.services.memory.api.parts import Parts
from ragrid.services.memory.api.streaming import Streamed
from ragrid.services.memory.changes import Op, Scope
from ragrid.services.memory.feed.watch import Watch
from ragrid.services.memory.feed.wire import (
    HEARTBEAT,
    STREAM_OPENING,
    render_event,
    server_sent,
    server_sent_end,
)
from ragrid.services.memory.model import Memory
from ragrid.services.memory.protocol.feed import Changes
from ragrid.web.auth import claims_of
from ragrid.web.problem import Problem

PAGE_LIMIT = 500
PAGE_DEFAULT = 100
#: Longest wait for a change, seconds: below the minute after which proxies give up.
WAIT_LIMIT_S = 50
#: A stream that has nothing to say says so this often, seconds.
HEARTBEAT_S = 15.0
#: A stream ends after this time, or with its token: whoever may no longer read is out then. Seconds.
STREAM_LIFE_S = 300.0

_LATEST = 2**62
_SEQ = re.compile(r"[0-9]{1,18}")
_SINCE = Parameter(
    name="since",
    place="query",
    schema=Annotated[str, Meta(pattern="^([0-9]{1,18}|latest)$")],
    summary="The last `seq` that was seen; 0, or nothing, is the beginning, `latest` is now.",
)
_PROBLEMS = (
    *NAMESPACE_PROBLEMS,
    "unknown-parameter",
    "repeated-parameter",
    "invalid-parameter",
    "feed-rewound",
    "overloaded",
)

_LAST_EVENT = Parameter(
    name="Last-Event-ID", place="header", schema=str, summary="Goes before `since`: where a lost stream goes on."
)

_encode = msgspec.json.Encoder().encode


class Change(msgspec.Struct, frozen=True):
    """One version of one memory; `memory` is null for an end, and where the content has expired or was purged."""

    seq: int
    op: Op
    id: str
    version: int
    at: datetime
    actor: str
    memory: Memory | None


class ChangesPage(msgspec.Struct, frozen=True):
    """Changes in the order in which they were made; `next_since` goes on after them."""

    changes: tuple[Change, ...]
    next_since: int
    has_more: bool


class ChangesApi:
    """The operations of the change feed. `heartbeat_s` is how often a quiet stream says that it is there."""

    def __init__(self, parts: Parts, *, heartbeat_s: float = HEARTBEAT_S, stream_life_s: float = STREAM_LIFE_S) -> None:
        self._parts = parts
        self._store = parts.store
        self._heartbeat_s = heartbeat_s
        self._stream_life_s = stream_life_s

    def operations(self) -> tuple[Operation, ...]:
        """Return each operation."""
        limit = Parameter(
            name="limit",
            place="query",
            schema=Annotated[int, Meta(ge=1, le=PAGE_LIMIT)],
            summary=f"How many at most; {PAGE_DEFAULT} without it. A page ends early after 1 MiB of documents.",
        )
        wait = Parameter(
            name="wait_seconds",
            place="query",
            schema=Annotated[int, Meta(ge=0, le=WAIT_LIMIT_S)],
            summary="How long to wait for a change when there is none; 0 without it.",
        )
        return (
            Operation(
                method="GET",
                path="/changes",
                id="readChanges",
                summary="Returns what happened to the memories of a namespace after `since`, oldest first.",
                permission="memory:read",
                handler=self._page,
                parameters=(NAMESPACE, _SINCE, limit, wait),
                successes=(Success(status=200, summary="The changes, maybe none.", schema=ChangesPage),),
                problems=_PROBLEMS,
            ),
            Operation(
                method="GET",
                path="/changes/stream",
                id="streamChanges",
                summary="Sends the changes after `since` and each later one as it is made, as server-sent events.",
                permission="memory:read",
                handler=self._stream,
                parameters=(NAMESPACE, _SINCE, _LAST_EVENT),
                successes=(
                    Success(
                        status=200,
                        summary="Events `change`, and one `end` when the stream has to be opened anew.",
                        schema=str,
                        media_type="text/event-stream",
                    ),
                ),
                problems=_PROBLEMS,
            ),
        )

    async def _page(self, request: Request) -> Answer:
        scope = scope_of(request)
        given = parameters_of(request, ("since", "limit", "wait_seconds"))
        limit = whole_number(given, "limit", low=1, high=PAGE_LIMIT, default=PAGE_DEFAULT)
        wait_s = whole_number(given, "wait_seconds", low=0, high=WAIT_LIMIT_S, default=0)
        since = await self._since(scope, given.get("since", "0"))
        if wait_s == 0 or request.method == "HEAD":
            found = await self._read(scope, since, limit)
        else:
            found = await self._waited_for(request, scope, since=since, limit=limit, wait_s=wait_s)
        body = {
            "changes": [msgspec.Raw(render_event(event)) for event in found.events],
            "next_since": found.events[-1].seq if found.events else since,
            "has_more": found.has_more,
        }
        return Answer(200, _encode(body), headers={"cache-control": "no-store"})

    async def _waited_for(self, request: Request, scope: Scope, *, since: int, limit: int, wait_s: int) -> Changes:
        ends_s = time.monotonic() + wait_s
        with self._store.watches.watch(scope) as watch:
            while True:
                watch.rearm()
                found = await self._read(scope, since, limit)
                left_s = ends_s - time.monotonic()
                if (
                    found.events
                    or left_s <= 0
                    or self._store.watches.is_closed
                    or await _is_gone(request, watch, left_s)
                ):
                    return found

    async def _stream(self, request: Request) -> ASGIApp:
        scope = scope_of(request)
        given = parameters_of(request, ("since",))
        since = await self._since(scope, request.headers.get("last-event-id") or given.get("since", "0"))
        await self._read(scope, since, 1)  # what is to be refused is refused before the answer begins
        life_s = min(self._stream_life_s, claims_of(request).expires_at_s - self._parts.clock.now_s())
        if request.method == "HEAD":
            return Answer(200)
        return Streamed(self._events(scope, since, life_s), media_type="text/event-stream")

    async def _events(self, scope: Scope, since: int, life_s: float) -> AsyncGenerator[bytes, None]:
        ends_s = time.monotonic() + life_s
        with self._store.watches.watch(scope) as watch:
            yield STREAM_OPENING
            while True:
                watch.rearm()
                try:
                    found = await self._read(scope, since, PAGE_LIMIT)
                except Problem as problem:
                    yield server_sent_end(problem.code)
                    return
                except RagridError as error:
                    yield server_sent_end(problem_of(error).code if is_refusal(error) else "failed")
                    return
                if found.events:
                    since = found.events[-1].seq
                    yield b"".join(server_sent(event) for event in found.events)
                if found.has_more:
                    continue
                left_s = ends_s - time.monotonic()
                if left_s <= 0 or self._store.watches.is_closed:
                    yield server_sent_end("time" if left_s <= 0 else "stopping")
                    return
                if not await _is_woken(watch, min(left_s, self._heartbeat_s)) and left_s > self._heartbeat_s:
                    yield HEARTBEAT

    async def _since(self, scope: Scope, text: str) -> int:
        if text == "latest":
            found = await self._store.changes(scope, since=_LATEST, now_us=self._parts.now_us(), limit=1)
            return found.last_seq
        if not _SEQ.fullmatch(text):
            detail = f"parameter 'since': got {text[:20]!r}, wanted the last `seq` that was seen, or 'latest'"
            raise Problem(400, "invalid-parameter", detail)
        return int(text)

    async def _read(self, scope: Scope, since: int, limit: int) -> Changes:
        found = await self._store.changes(scope, since=since, now_us=self._parts.now_us(), limit=limit)
        if since > found.last_seq:
            detail = (
                f"the last change of this store is {found.last_seq}, wanted what follows {since}: it was restored, or "
                "is another one; read everything again, from since=0"
            )
            raise Problem(409, "feed-rewound", detail, members={"last_seq": found.last_seq})
        return found


async def _is_gone(request: Request, watch: Watch, timeout_s: float) -> bool:
    """Wait for a change or for the time to pass; tell whether the caller went away instead."""
    gone, changed = asyncio.ensure_future(_until_gone(request)), asyncio.ensure_future(watch.changed())
    try:
        done, _ = await asyncio.wait({gone, changed}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        return gone in done
    finally:
        gone.cancel()
        changed.cancel()


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _is_woken(watch: Watch, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            await watch.changed()
    except TimeoutError:
        return False
    return True
