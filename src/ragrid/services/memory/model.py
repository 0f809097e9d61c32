"""What a memory is: the members a caller may set, their limits, and the document that is stored and sent.

Limits are exact and counted as the names say: characters for short strings, UTF-8 bytes for `content` and `data`.
"""

from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ragrid.services.memory.vectors import GivenVector

CONTENT_BYTES = 32 * 1024
DATA_BYTES = 64 * 1024
DATA_DEPTH = 32
METADATA_BYTES = 16 * 1024
#: Largest body of a request that carries one memory: content and data fully escaped, and the rest.
BODY_BYTES = 512 * 1024
TAGS = 32
#: Memories that one may name in `supersedes`.
SUPERSEDES = 32
#: Longest life that can be asked for with `ttl_seconds`: ten years.
TTL_S = 315_360_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST_US = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST_US = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
#: What is wrong with a time that is in the calendar of its own zone alone.
BEYOND_CALENDAR = "wanted a time within the years 1 to 9999 of UTC"
_encode_sorted = msgspec.json.Encoder(order="deterministic").encode

Type = Literal["semantic", "episodic", "procedural", "working", "custom"]
Reference = Annotated[str, Meta(min_length=1, max_length=128)]
Tag = Annotated[str, Meta(min_length=1, max_length=64)]
Name = Annotated[str, Meta(min_length=1, max_length=64)]
Scalar = str | int | float | bool | None
Moment = Annotated[datetime, Meta(tz=True)]
#: Described here; `validate.checked` demands it.
_EACH_ONCE = Meta(extra_json_schema={"uniqueItems": True})
#: Whether searches have the vector of a memory: nothing to embed or no embedder, on its way, there, or given up.
EmbeddingStatus = Literal["none", "pending", "ready", "failed"]
#: `$` alone would take a newline at the end, after which no path could name the memory.
MemoryId = Annotated[str, Meta(pattern=r"^(?!\.{1,2}$)[A-Za-z0-9._~-]{1,128}$(?!\n)")]
NamespaceName = Annotated[str, Meta(pattern=r"^(?!\.{1,2}$)[A-Za-z0-9._~-]{1,64}$(?!\n)")]


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a memory came from: a kind (`message`, `document`, …) and a reference in that world."""

    kind: Name
    ref: Annotated[str, Meta(max_length=1024)] | None = None


class MemoryInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that a caller may set. `ttl_seconds` is a way to write `expires_at`; `embedding` is for searches.

    Neither is a member of the document.
    """

    content: str = ""
    type: Type = "semantic"
    data: dict[str, Any] = {}
    user_id: Reference | None = None
    agent_id: Reference | None = None
    session_id: Reference | None = None
    tags: Annotated[tuple[Tag, ...], Meta(max_length=TAGS), _EACH_ONCE] = ()
    metadata: dict[Name, Scalar] = {}
    importance: Annotated[float, Meta(ge=0, le=1)] = 0.5
    source: Source | None = None
    valid_from: Moment | None = None
    valid_to: Moment | None = None
    supersedes: Annotated[tuple[MemoryId, ...], Meta(max_length=SUPERSEDES), _EACH_ONCE] = ()
    pinned: bool = False
    expires_at: Moment | None = None
    ttl_seconds: Annotated[int, Meta(ge=1, le=TTL_S)] | None = None
    embedding: GivenVector | None = None


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a memory as it is stored and sent; its JSON is rendered once, when it is written.

    Members with a default came after the first release: documents from before lack them.
    """

    id: str
    namespace: str
    type: Type
    content: str
    data: dict[str, Any]
    user_id: str | None
    agent_id: str | None
    session_id: str | None
    tags: tuple[str, ...]
    metadata: dict[str, Scalar]
    importance: float
    source: Source | None
    valid_from: datetime | None
    valid_to: datetime | None
    supersedes: tuple[str, ...] = ()
    superseded_by: str | None = None
    pinned: bool
    expires_at: datetime | None
    version: int
    seq: int
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str
    #: Never stored: it changes without a new version. It is added where it is asked for.
    embedding_status: EmbeddingStatus | UnsetType = UNSET


#: Members that a caller may set, in order, and those that the service sets.
WRITABLE = MemoryInput.__struct_fields__
READ_ONLY = tuple(name for name in Memory.__struct_fields__ if name not in WRITABLE)


def moment(at_us: int) -> datetime:
    """Return microseconds since the Unix epoch as a UTC time, exactly."""
    return _EPOCH + timedelta(microseconds=at_us)


def microseconds(at: datetime) -> int:
    """Return a time as microseconds since the Unix epoch, exactly."""
    return (at - _EPOCH) // _MICROSECOND


def is_in_calendar(at: datetime | None) -> bool:
    """Tell whether a time, if there is one, is within the years 1 to 9999 of UTC, too: only then can it be shown so."""
    return at is None or _FIRST_US <= microseconds(at) <= _LAST_US


def fingerprint_of(one: MemoryInput | Memory) -> bytes:
    """Return what two memories share that say the same: content and data, of one type, user and agent."""
    said = (one.content, one.data, one.type, one.user_id, one.agent_id)
    return blake2b(_encode_sorted(said), digest_size=16).digest()


def searchable(memory: Memory) -> tuple[str, str, str]:
    """Return the texts that lexical search looks into: content, tags, and every string inside `data`."""
    return memory.content, " ".join(memory.tags), " ".join(_strings(memory.data)) if memory.data else ""


def _strings(value: object) -> list[str]:
    found: list[str] = []
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            found.append(one)
        elif isinstance(one, dict):
            waiting.extend(reversed(one.values()))
        elif isinstance(one, list):
            waiting.extend(reversed(one))
    return found
