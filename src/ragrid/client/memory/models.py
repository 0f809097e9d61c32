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
    embedding: "Embedding"


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
    embedding: "Embedding | None"


class Embedding(TypedDict):
    """A vector of one's own for a memory, and the model that it came from."""

    model: str
    values: Sequence[float]


#: One comparison (`{"field": "metadata.plan", "op": "eq", "value": "pro"}`), or `{"and": [...]}`, or `{"or": [...]}`.
Tree = Mapping[str, Any]


class Criteria(TypedDict, total=False):
    """What memories must match, all of it."""

    type: Type
    tags: Sequence[str]
    user_id: str
    agent_id: str
    session_id: str
    where: Tree


class SearchOptions(Criteria, total=False):
    """What a search looks at, and how it ranks; what is left out has the service's default."""

    mode: Literal["hybrid", "lexical", "semantic"]
    min_score: float
    recency_half_life: float
    importance_weight: float
    include_superseded: bool
    as_of: datetime
    explain: bool
    include: Sequence[Literal["embedding_status"]]
    vector: Embedding


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
    embedding_status: str | None = None


class MemoryPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some memories, newest first."""

    items: tuple[Memory, ...] = msgspec.field(name="memories")
    after: str | None = msgspec.field(name="next_cursor", default=None)


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

    items: tuple[MemoryEvent, ...] = msgspec.field(name="events")
    after: str | None = msgspec.field(name="next_cursor", default=None)


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """One memory that a search found; `score` is at most 1. `explain` has its parts, when they were asked for."""

    memory: Memory
    score: float
    explain: dict[str, float | None] = {}


class Hits(msgspec.Struct, frozen=True, kw_only=True):
    """What a search found, best first; `degraded` names what was away and done without."""

    results: tuple[Hit, ...]
    mode_used: str
    degraded: tuple[str, ...] = ()
    took_ms: float = 0.0


class BatchResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one operation of a batch: the status that it would have had alone, and the memory or the problem."""

    status: int
    id: str | None = None
    version: int | None = None
    memory: Memory | None = None
    problem: dict[str, Any] | None = None


class BatchAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One result for each operation, in their order."""

    results: tuple[BatchResult, ...]


class ForgetAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """After a dry run `count` and `token`; else how many are forgotten now, and whether that is all of them."""

    count: int | None = None
    token: str | None = None
    forgotten: int | None = None
    is_complete: bool | None = None


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """How many memories match, and the token that forgets just those."""

    count: int
    token: str
    criteria: dict[str, Any]
    is_purge: bool = False
