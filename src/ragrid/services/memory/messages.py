"""The messages of a session: what may be appended, and what an append makes of it. Pure.

Messages are never changed. Their indexes start at 1, only grow, and are never given twice, also after a session was
emptied; there are gaps only where messages have expired.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ragrid.services.memory.changes import Idempotency, Scope
from ragrid.services.memory.errors import VersionError
from ragrid.services.memory.model import (
    CONTENT_BYTES,
    DATA_BYTES,
    DATA_DEPTH,
    METADATA_BYTES,
    TTL_S,
    Name,
    Scalar,
    moment,
)
from ragrid.services.memory.validate import Fault, is_deep

#: Messages that one request may append.
MESSAGES = 100

Role = Literal["system", "developer", "user", "assistant", "tool"]

_encode = msgspec.json.Encoder().encode


class MessageInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One turn of a conversation, as a caller sends it. `name` says who of several spoke, or which tool answered."""

    role: Role
    content: str = ""
    name: Name | None = None
    data: dict[str, Any] = {}
    metadata: dict[Name, Scalar] = {}


class AppendRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller appends, in order; with `after`, only when that is the index of the last message (0: none)."""

    messages: Annotated[tuple[MessageInput, ...], Meta(min_length=1, max_length=MESSAGES)]
    after: Annotated[int, Meta(ge=0, le=2**62)] | None = None
    ttl_seconds: Annotated[int, Meta(ge=1, le=TTL_S)] | None = None


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message as it is stored and sent."""

    session_id: str
    namespace: str
    index: int
    role: Role
    name: str | None
    content: str
    data: dict[str, Any]
    metadata: dict[str, Scalar]
    expires_at: datetime | None
    created_at: datetime
    created_by: str


class Append(msgspec.Struct, frozen=True):
    """Add messages to the end of a session."""

    scope: Scope
    session_id: str
    actor: str
    at_us: int
    given: AppendRequest
    idempotency: Idempotency | None = None


class StoredMessage(msgspec.Struct, frozen=True):
    """One message as a store keeps it: rendered once."""

    index: int
    expires_us: int | None
    doc: bytes


class Appended(msgspec.Struct, frozen=True):
    """What an append left behind: the documents of its messages, in order."""

    docs: tuple[bytes, ...]
    last_index: int
    is_replay: bool = False


class MessagePage(msgspec.Struct, frozen=True):
    """Some messages in the order asked for; `next_index` goes on after the last one, None: there are no more."""

    docs: tuple[bytes, ...]
    next_index: int | None


def decide_append(last_index: int, append: Append) -> tuple[StoredMessage, ...]:
    """Return the messages to store after `last_index`. Raises VersionError when `after` was asked and is not that."""
    if append.given.after is not None and append.given.after != last_index:
        raise VersionError(
            f"the last message of the session is {last_index}, wanted {append.given.after}; read the rest first",
            last_index,
        )
    ttl_s = append.given.ttl_seconds
    expires_us = None if ttl_s is None else append.at_us + ttl_s * 1_000_000
    return tuple(
        StoredMessage(index, expires_us, _rendered(append, given, index=index, expires_us=expires_us))
        for index, given in enumerate(append.given.messages, start=last_index + 1)
    )


def append_faults(given: AppendRequest) -> list[Fault]:
    """Return what is wrong with an append that no type can say, all of it, with JSON pointers."""
    return [
        (f"/messages/{number}{pointer}", detail)
        for number, message in enumerate(given.messages)
        for pointer, detail in _message_faults(message)
    ]


def document_faults(name: str, value: Mapping[str, Any], limit_bytes: int) -> list[Fault]:
    """Return what is wrong with the free-form object in the member `name`: too deep or too large."""
    if not value:
        return []
    if is_deep(value, DATA_DEPTH):
        return [(f"/{name}", f"nested more than {DATA_DEPTH} levels deep")]
    size_bytes = len(_encode(value))
    if size_bytes > limit_bytes:
        return [(f"/{name}", f"got {size_bytes} bytes of JSON, wanted at most {limit_bytes}")]
    return []


def _message_faults(message: MessageInput) -> list[Fault]:
    faults: list[Fault] = []
    content_bytes = len(message.content.encode())
    if content_bytes > CONTENT_BYTES:
        faults.append(("/content", f"got {content_bytes} bytes of UTF-8, wanted at most {CONTENT_BYTES}"))
    if not message.content and not message.data:
        faults.append(("/content", f"wanted 1 to {CONTENT_BYTES} bytes of text; it may be empty only beside `data`"))
    faults += document_faults("data", message.data, DATA_BYTES)
    return faults + document_faults("metadata", message.metadata, METADATA_BYTES)


def _rendered(append: Append, given: MessageInput, *, index: int, expires_us: int | None) -> bytes:
    return _encode(
        Message(
            session_id=append.session_id,
            namespace=append.scope.namespace,
            index=index,
            role=given.role,
            name=given.name,
            content=given.content,
            data=given.data,
            metadata=given.metadata,
            expires_at=None if expires_us is None else moment(expires_us),
            created_at=moment(append.at_us),
            created_by=append.actor,
        )
    )
