"""Conversations and packs of context: what is sent and what comes back (pure)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypedDict
from urllib.parse import quote

import msgspec

from ragrid.client.calls import Call
from ragrid.client.memory.calls import PREFIX, ask, change, filter_of, if_match, paging, question
from ragrid.client.memory.models import Criteria, Scalar
from ragrid.errors import UsageError

Role = Literal["assistant", "developer", "system", "tool", "user"]


class NewMessage(TypedDict, total=False):
    """One message to add; only `role` must be there."""

    role: Role
    content: str
    name: str
    data: Mapping[str, Any]
    metadata: Mapping[str, Scalar]


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a session, which never changes; indexes count from 1."""

    session_id: str
    namespace: str
    index: int
    role: str
    content: str
    created_at: datetime
    created_by: str
    name: str | None = None
    data: dict[str, Any] = {}
    metadata: dict[str, Scalar] = {}
    expires_at: datetime | None = None


class AddedMessages(msgspec.Struct, frozen=True, kw_only=True):
    """What an append made."""

    messages: tuple[Message, ...]
    last_index: int


class MessagesPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some messages."""

    items: tuple[Message, ...] = msgspec.field(name="messages")
    after: str | None = msgspec.field(name="next_cursor", default=None)


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The working state of a session."""

    session_id: str
    namespace: str
    data: dict[str, Any]
    version: int
    updated_at: datetime
    updated_by: str
    ttl_seconds: int | None = None
    expires_at: datetime | None = None


class SessionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What there is of a session; without a state, `state_version` is None."""

    id: str
    last_index: int
    state_version: int | None = None


class SessionsPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some sessions, by id."""

    items: tuple[SessionSummary, ...] = msgspec.field(name="sessions")
    after: str | None = msgspec.field(name="next_after", default=None)


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of a pack: a memory, a message (`id` is its index) or the session's state, and why it is there."""

    kind: str
    id: str
    tokens: int
    reason: str
    text: str = ""
    score: float | None = None


class Pack(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent should know now, in the order in which a model should read it."""

    items: tuple[Piece, ...]
    budget_tokens: int
    used_tokens: int
    left_out: tuple[Piece, ...] = ()
    left_out_count: int = 0
    mode_used: str | None = None
    degraded: tuple[str, ...] = ()


class PackOptions(TypedDict, total=False):
    """How a pack is filled; what is left out has the service's default."""

    mode: Literal["hybrid", "lexical", "semantic"]
    memories: int
    messages: int
    message_share: float
    include_pinned: bool
    include_state: bool
    bytes_per_token: float


def summaries(namespace: str, after: str | None) -> Call[SessionsPage]:
    """Ask for one page of the sessions of a namespace, by id."""
    return ask(f"{PREFIX}/sessions", SessionsPage, namespace, parameters=paging(after, name="after"))


def append(
    namespace: str,
    session_id: str,
    messages: Sequence[NewMessage],
    key: str,
    *,
    after: int | None,
    ttl_seconds: int | None,
) -> Call[AddedMessages]:
    """Add messages, all or none; `key` names this one wish, so that they are added once."""
    body: dict[str, Any] = {"messages": list(messages)}
    if after is not None:
        body["after"] = after
    if ttl_seconds is not None:
        body["ttl_seconds"] = ttl_seconds
    path, headers = f"{_one(session_id)}/messages", {"idempotency-key": key}
    return change("POST", path, AddedMessages, namespace, content=body, headers=headers)


def page(namespace: str, session_id: str, cursor: str | None, *, newest_first: bool) -> Call[MessagesPage]:
    """Ask for one page of messages."""
    parameters = {"order": "newest" if newest_first else "oldest", **paging(cursor)}
    return ask(f"{_one(session_id)}/messages", MessagesPage, namespace, parameters=parameters)


def state(namespace: str, session_id: str) -> Call[State]:
    """Ask for the working state."""
    return ask(f"{_one(session_id)}/state", State, namespace)


def put_state(
    namespace: str, session_id: str, data: Mapping[str, Any], *, ttl_seconds: int | None, if_version: int | None
) -> Call[State]:
    """Replace the working state whole."""
    body = {"data": data, **({"ttl_seconds": ttl_seconds} if ttl_seconds is not None else {})}
    path, headers = f"{_one(session_id)}/state", if_match(if_version)
    return change("PUT", path, State, namespace, content=body, headers=headers)


def delete(namespace: str, session_id: str) -> Call[None]:
    """Erase messages and state."""
    return change("DELETE", _one(session_id), type(None), namespace)


def pack(
    namespace: str,
    budget_tokens: int,
    query: str,
    criteria: Criteria,
    *,
    session_id: str | None,
    options: PackOptions,
) -> Call[Pack]:
    """Ask for a pack of at most `budget_tokens`."""
    body: dict[str, Any] = {
        "budget_tokens": budget_tokens,
        "query": query,
        "filter": filter_of(criteria),
        **({"session_id": session_id} if session_id is not None else {}),
        **options,
    }
    return question(f"{PREFIX}/context", Pack, namespace, body)


def _one(session_id: str) -> str:
    if not session_id:
        raise UsageError("session id: got none, wanted 1 to 128 characters of A-Z a-z 0-9 . _ ~ -")
    return f"{PREFIX}/sessions/{quote(session_id, safe='')}"
