"""What the memory service takes and answers, as values: immutable, tolerant of members that a newer grid adds."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypedDict

import msgspec

Type = Literal["semantic", "episodic", "procedural", "working", "custom"]
Scalar = str | int | float | bool | None


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where a memory came from: a kind (`message`, `document`, …) and a reference in that world."""

    kind: str
    ref: str | None = None


class Members(TypedDict, total=False):
    """What may be set beside `content`; what is left out has the service's default."""

    type: Type
    data: Mapping[str, Any]
    user_id: str
    agent_id: str
    session_id: str
    tags: Sequence[str]
    metadata: Mapping[str, Scalar]
    importance: float
    source: Source
    valid_from: datetime
    valid_to: datetime
    supersedes: Sequence[str]
    pinned: bool
    expires_at: datetime
    ttl_seconds: int


class Changes(TypedDict, total=False):
    """What an update may change; None takes a member back to its default, an object is merged (RFC 7396)."""

    content: str | None
    type: Type | None
    data: Mapping[str, Any] | None
    user_id: str | None
    agent_id: str | None
    session_id: str | None
    tags: Sequence[str] | None
    metadata: Mapping[str, Scalar] | None
    importance: float | None
    source: Source | None
    valid_from: datetime | None
    valid_to: datetime | None
    supersedes: Sequence[str] | None
    pinned: bool | None
    expires_at: datetime | None
    ttl_seconds: int | None


class Criteria(TypedDict, total=False):
    """What memories must match, all of it."""

    type: Type
    tags: Sequence[str]
    user_id: str
    agent_id: str
    session_id: str


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a memory. Versions of an id only grow; `version` is what a conditional change names."""

    id: str
    namespace: str
    version: int
    seq: int
    content: str
    type: str
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str
    data: dict[str, Any] = {}
    user_id: str | None = None
    agent_id: str | None = None
    session_id: str | None = None
    tags: tuple[str, ...] = ()
    metadata: dict[str, Scalar] = {}
    importance: float = 0.5
    source: Source | None = None
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    supersedes: tuple[str, ...] = ()
    superseded_by: str | None = None
    pinned: bool = False
    expires_at: datetime | None = None


class MemoryPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some memories, newest first; `next_cursor` asks for those after them."""

    memories: tuple[Memory, ...]
    next_cursor: str | None = None


class MemoryEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One step in the life of a memory; `memory` is None where it ended and where its content has expired."""

    version: int
    seq: int
    op: str
    at: datetime
    actor: str
    memory: Memory | None = None


class HistoryPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some steps, newest first."""

    events: tuple[MemoryEvent, ...]
    next_cursor: str | None = None


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """One memory that a search found; `score` is 1 for the best."""

    memory: Memory
    score: float


class Hits(msgspec.Struct, frozen=True, kw_only=True):
    """What a search found, best first; `degraded` names what was away and done without."""

    results: tuple[Hit, ...]
    mode_used: str
    degraded: tuple[str, ...] = ()
    took_ms: float = 0.0
