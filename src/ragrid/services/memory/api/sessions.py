"""Sessions: messages are appended and read, the working state is put and read, all of it is deleted."""

from hashlib import blake2b
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request

from ragrid.services.memory.api.answers import Answer
from ragrid.services.memory.api.headers import (
    condition_of,
    etag,
    idempotency_key_of,
    is_unmodified,
    require_media_type,
)
from ragrid.services.memory.api.operation import (
    BODY_PROBLEMS,
    JSON_TYPE,
    NAMESPACE_PROBLEMS,
    PAGING_PROBLEMS,
    WRITE_PROBLEMS,
    Body,
    Operation,
    Parameter,
    Success,
    scope_of,
)
from ragrid.services.memory.api.parameters import (
    CURSOR,
    IDEMPOTENCY_KEY,
    IF_MATCH,
    IF_NONE_MATCH,
    IF_THERE_IS_NONE,
    LIMIT,
    LIST_DEFAULT,
    LIST_LIMIT,
    NAMESPACE,
    SESSION_ID,
    id_parameter,
    paging_of,
    parameters_of,
    session_id_of,
    whole_number,
)
from ragrid.services.memory.api.parts import Parts
from ragrid.services.memory.changes import Idempotency
from ragrid.services.memory.cursor import encode_cursor
from ragrid.services.memory.errors import InvalidBodyError, NoSessionError
from ragrid.services.memory.messages import Append, AppendRequest, Message, append_faults
from ragrid.services.memory.model import BODY_BYTES, MemoryId
from ragrid.services.memory.protocol.sessions import Order, SessionSummary
from ragrid.services.memory.working_state import PutState, State, StateInput, state_faults
from ragrid.web.auth import claims_of
from ragrid.web.body import decode_json, read_body
from ragrid.web.problem import Problem

_encode = msgspec.json.Encoder().encode

_ORDER = Parameter(
    name="order", place="query", schema=Literal["newest", "oldest"], summary="Which end comes first; `newest` without."
)
_AFTER = Parameter(name="after", place="query", schema=MemoryId, summary="Only sessions behind the one with this id.")
_MINE = (*NAMESPACE_PROBLEMS, "invalid-id")
_WRITE = (*_MINE, *WRITE_PROBLEMS, *BODY_PROBLEMS, "invalid-body", "version-conflict")


class AddedMessages(msgspec.Struct, frozen=True):
    """What an append made, in order; `last_index` is what the next append may name in `after`."""

    messages: tuple[Message, ...]
    last_index: Annotated[int, Meta(ge=1)]


class MessagesPage(msgspec.Struct, frozen=True):
    """Some messages, in the order asked for."""

    messages: tuple[Message, ...]
    next_cursor: str | None


class SessionsPage(msgspec.Struct, frozen=True):
    """Some sessions, by id; `next_after` goes on behind them."""

    sessions: tuple[SessionSummary, ...]
    next_after: str | None


class SessionsApi:
    """The operations of sessions."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._store = parts.store

    def operations(self) -> tuple[Operation, ...]:
        """Return each operation, the busiest first."""
        return (*self._of_messages(), *self._of_sessions(), *self._of_state())

    def _of_messages(self) -> tuple[Operation, ...]:
        return (
            Operation(
                method="POST",
                path="/sessions/{id}/messages",
                id="appendMessages",
                summary="Adds messages to the end of a session, all or none; they never change.",
                permission="memory:write",
                handler=self._append,
                parameters=(SESSION_ID, NAMESPACE, IDEMPOTENCY_KEY),
                body=Body(schema=AppendRequest),
                successes=(
                    Success(status=201, summary="Added.", schema=AddedMessages, headers=("idempotency-replayed",)),
                ),
                problems=(
                    *_WRITE,
                    "invalid-idempotency-key",
                    "idempotency-key-reused",
                    "idempotent-result-gone",
                ),
            ),
            Operation(
                method="GET",
                path="/sessions/{id}/messages",
                id="listMessages",
                summary="Lists the messages of a session.",
                permission="memory:read",
                handler=self._messages,
                parameters=(SESSION_ID, NAMESPACE, _ORDER, LIMIT, CURSOR),
                successes=(Success(status=200, summary="One page.", schema=MessagesPage),),
                problems=(*_MINE, *PAGING_PROBLEMS, "session-not-found"),
            ),
        )

    def _of_sessions(self) -> tuple[Operation, ...]:
        return (
            Operation(
                method="GET",
                path="/sessions",
                id="listSessions",
                summary="Lists the sessions of a namespace by their ids.",
                permission="memory:read",
                handler=self._list,
                parameters=(NAMESPACE, LIMIT, _AFTER),
                successes=(Success(status=200, summary="One page.", schema=SessionsPage),),
                problems=(*NAMESPACE_PROBLEMS, "unknown-parameter", "repeated-parameter", "invalid-parameter"),
            ),
            Operation(
                method="DELETE",
                path="/sessions/{id}",
                id="deleteSession",
                summary="Erases the messages and the state of a session; memories of it stay.",
                permission="memory:write",
                handler=self._delete,
                parameters=(SESSION_ID, NAMESPACE),
                successes=(Success(status=204, summary="Erased."),),
                problems=(*_MINE, *WRITE_PROBLEMS, "session-not-found"),
            ),
        )

    def _of_state(self) -> tuple[Operation, ...]:
        return (
            Operation(
                method="GET",
                path="/sessions/{id}/state",
                id="readState",
                summary="Returns the working state of a session.",
                permission="memory:read",
                handler=self._read_state,
                parameters=(SESSION_ID, NAMESPACE, IF_NONE_MATCH),
                successes=(
                    Success(status=200, summary="The state.", schema=State, headers=("etag",)),
                    Success(status=304, summary="The caller has this version already.", headers=("etag",)),
                ),
                problems=(*_MINE, "session-not-found", "invalid-precondition"),
            ),
            Operation(
                method="PUT",
                path="/sessions/{id}/state",
                id="replaceState",
                summary="Makes or replaces the working state; its time to live begins anew, as with each append.",
                permission="memory:write",
                handler=self._put_state,
                parameters=(SESSION_ID, NAMESPACE, IF_MATCH, IF_THERE_IS_NONE),
                body=Body(schema=StateInput),
                successes=(
                    Success(status=201, summary="Made.", schema=State, headers=("etag",)),
                    Success(status=200, summary="Replaced.", schema=State, headers=("etag",)),
                ),
                problems=(*_WRITE, "invalid-precondition"),
            ),
        )

    async def _append(self, request: Request) -> Answer:
        scope = scope_of(request)
        session_id = session_id_of(request)
        require_media_type(request, JSON_TYPE)
        key = idempotency_key_of(request)
        body = await read_body(request, BODY_BYTES)
        given = decode_json(body, AppendRequest)
        faults = append_faults(given)
        if faults:
            raise InvalidBodyError(faults)
        idempotency = None
        if key is not None:
            fingerprint = blake2b(f"{scope.namespace}\0{session_id}\0".encode() + body, digest_size=16).digest()
            idempotency = Idempotency(key, fingerprint)
        actor, now_us = claims_of(request).subject, self._parts.now_us()
        added = await self._store.append(Append(scope, session_id, actor, now_us, given, idempotency))
        headers = {"idempotency-replayed": "true"} if added.is_replay else None
        docs = [msgspec.Raw(doc) for doc in added.docs]
        return Answer(201, _encode({"messages": docs, "last_index": added.last_index}), headers=headers)

    async def _messages(self, request: Request) -> Answer:
        scope = scope_of(request)
        session_id = session_id_of(request)
        order = _order_of(request)
        walk = ("messages", *msgspec.structs.astuple(scope), session_id, order)
        limit, beyond = paging_of(request, walk)
        now_us = self._parts.now_us()
        page = await self._store.messages(scope, session_id, now_us=now_us, limit=limit, order=order, beyond=beyond)
        if page is None:
            raise NoSessionError(f"no session {session_id!r} in namespace {scope.namespace!r}")
        cursor = None if page.next_index is None else encode_cursor(page.next_index, walk)
        return Answer(200, _encode({"messages": [msgspec.Raw(doc) for doc in page.docs], "next_cursor": cursor}))

    async def _list(self, request: Request) -> Answer:
        scope = scope_of(request)
        given = parameters_of(request, ("limit", "after"))
        limit = whole_number(given, "limit", low=1, high=LIST_LIMIT, default=LIST_DEFAULT)
        now_us = self._parts.now_us()
        found = await self._store.sessions(scope, now_us=now_us, limit=limit + 1, after=id_parameter(given, "after"))
        next_after = found[limit - 1].id if len(found) > limit else None
        return Answer(200, _encode(SessionsPage(found[:limit], next_after)))

    async def _delete(self, request: Request) -> Answer:
        await self._store.delete_session(scope_of(request), session_id_of(request))
        return Answer(204)

    async def _read_state(self, request: Request) -> Answer:
        scope = scope_of(request)
        session_id = session_id_of(request)
        found = await self._store.state(scope, session_id, now_us=self._parts.now_us())
        if found is None:
            raise NoSessionError(f"session {session_id!r} of namespace {scope.namespace!r} has no state")
        headers = {"etag": etag(found.version)}
        if is_unmodified(request, found.version):
            return Answer(304, headers=headers)
        return Answer(200, found.doc, headers=headers)

    async def _put_state(self, request: Request) -> Answer:
        scope = scope_of(request)
        session_id = session_id_of(request)
        require_media_type(request, JSON_TYPE)
        condition = condition_of(request)
        given = decode_json(await read_body(request, BODY_BYTES), StateInput)
        faults = state_faults(given)
        if faults:
            raise InvalidBodyError(faults)
        actor, now_us = claims_of(request).subject, self._parts.now_us()
        stored = await self._store.put_state(PutState(scope, session_id, actor, now_us, given, condition))
        return Answer(201 if stored.is_new else 200, stored.doc, headers={"etag": etag(stored.version)})


def _order_of(request: Request) -> Order:
    order = parameters_of(request, ("order", "limit", "cursor")).get("order", "newest")
    if order not in ("newest", "oldest"):
        raise Problem(400, "invalid-parameter", f"parameter 'order': got {order[:20]!r}, wanted 'newest' or 'oldest'")
    return "oldest" if order == "oldest" else "newest"
