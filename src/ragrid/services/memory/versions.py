"""The versions that changes lead to, rendered: the documents that are stored and sent. Pure."""

import msgspec

from ragrid.services.memory.changes import (
    Create,
    Delete,
    MemoryCopy,
    Op,
    Patch,
    Purge,
    Replace,
    Restore,
    Stored,
    Version,
)
from ragrid.services.memory.model import Memory, MemoryInput, fingerprint_of, microseconds, moment

#: Who is named in the history when time ended a memory.
EXPIRY_ACTOR = "expiry"

#: What a document takes from its input as it is.
_GIVEN = tuple(name for name in MemoryInput.__struct_fields__ if name in Memory.__struct_fields__)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Memory).decode


class Place(msgspec.Struct, frozen=True):
    """The numbers of a version: where it stands in lists, in its memory's life, and in the store's."""

    position: int
    version: int
    seq: int


def rendered(
    change: Create | Replace | Patch | Restore,
    given: MemoryInput,
    origin: Stored | None,
    live: Stored | None,
    place: Place,
    *,
    is_brought: bool,
) -> Version:
    """Return the version that holds `given`; who made the memory and when comes from `origin`."""
    created_us, created_by = (change.at_us, change.actor) if origin is None else (origin.created_us, origin.created_by)
    expires_at = given.expires_at if given.ttl_seconds is None else moment(change.at_us + given.ttl_seconds * 1_000_000)
    memory = Memory(
        id=change.id,
        namespace=change.scope.namespace,
        type=given.type,
        content=given.content,
        data=given.data,
        user_id=given.user_id,
        agent_id=given.agent_id,
        session_id=given.session_id,
        tags=given.tags,
        metadata=given.metadata,
        importance=given.importance,
        source=given.source,
        valid_from=given.valid_from,
        valid_to=given.valid_to,
        supersedes=given.supersedes,
        # To restore a memory is to say that it holds again.
        superseded_by=None if live is None or isinstance(change, Restore) else live.superseded_by,
        pinned=given.pinned,
        expires_at=expires_at,
        version=place.version,
        seq=place.seq,
        created_at=moment(created_us),
        created_by=created_by,
        updated_at=moment(change.at_us),
        updated_by=change.actor,
    )
    op: Op = "restore" if isinstance(change, Restore) else ("create" if live is None else "update")
    version = _written(op, memory, live, place, at_us=change.at_us, actor=change.actor)
    return _with_vector(version, given, is_brought=is_brought)


def superseded(change: Create | Replace | Patch | Restore, live: Stored, *, seq: int) -> Version:
    """Return the version of a memory that says that `change` took its place."""
    place = Place(live.position, live.version + 1, seq)
    memory = msgspec.structs.replace(
        _decode(live.doc),
        superseded_by=change.id,
        version=place.version,
        seq=seq,
        updated_at=moment(change.at_us),
        updated_by=change.actor,
    )
    return _written("supersede", memory, live, place, at_us=change.at_us, actor=change.actor)


def deleted(change: Delete, live: Stored, *, seq: int) -> Version:
    """Return the end of a memory. It keeps its expiry: from then on its history shows no content either."""
    ended = _ended("delete", live, change.id, seq=seq, at_us=change.at_us, actor=change.actor)
    return msgspec.structs.replace(ended, expires_us=live.expires_us)


def purged(change: Purge, current: Stored, *, seq: int) -> Version:
    """Return the end of a memory and of its history."""
    return _ended("purge", current, change.id, seq=seq, at_us=change.at_us, actor=change.actor)


def expired(current: Stored, memory_id: str, *, seq: int, at_us: int) -> Version:
    """Return the step that ends a memory whose time is over, deleted before or not; all its contents go."""
    return _ended("expire", current, memory_id, seq=seq, at_us=at_us, actor=EXPIRY_ACTOR)


def copied(
    copy: MemoryCopy, given: MemoryInput, live: Stored | None, place: Place, *, is_brought: bool = False
) -> Version:
    """Return a version as another store had it."""
    memory = Memory(
        id=copy.id,
        namespace=copy.scope.namespace,
        superseded_by=copy.superseded_by,
        version=place.version,
        seq=place.seq,
        created_at=moment(copy.created_us),
        created_by=copy.created_by,
        updated_at=moment(copy.at_us),
        updated_by=copy.actor,
        **{name: getattr(given, name) for name in _GIVEN},
    )
    version = _written(copy.op, memory, live, place, at_us=copy.at_us, actor=copy.actor)
    return _with_vector(version, given, is_brought=is_brought)


def copied_end(copy: MemoryCopy, live: Stored, place: Place) -> Version:
    """Return a delete as another store had it."""
    ended = _ended("delete", live, copy.id, seq=place.seq, at_us=copy.at_us, actor=copy.actor)
    return msgspec.structs.replace(ended, version=place.version, expires_us=live.expires_us)


def _with_vector(version: Version, given: MemoryInput, *, is_brought: bool) -> Version:
    if given.embedding is None:
        return version
    return msgspec.structs.replace(version, embedding=given.embedding, is_brought=is_brought)


def _written(op: Op, memory: Memory, live: Stored | None, place: Place, *, at_us: int, actor: str) -> Version:
    doc = _encode(memory)
    return Version(
        op=op,
        id=memory.id,
        position=place.position,
        version=place.version,
        seq=place.seq,
        at_us=at_us,
        actor=actor,
        created_us=microseconds(memory.created_at),
        created_by=memory.created_by,
        memory=memory,
        doc=doc,
        # While it is pinned, a memory does not expire.
        expires_us=None if memory.expires_at is None or memory.pinned else microseconds(memory.expires_at),
        rows_delta=1 if live is None else 0,
        size_delta=len(doc) - (0 if live is None else len(live.doc)),
        fingerprint=fingerprint_of(memory),
    )


def _ended(op: Op, current: Stored, memory_id: str, *, seq: int, at_us: int, actor: str) -> Version:
    return Version(
        op=op,
        id=memory_id,
        position=current.position,
        version=current.version + 1,
        seq=seq,
        at_us=at_us,
        actor=actor,
        created_us=current.created_us,
        created_by=current.created_by,
        memory=None,
        doc=b"",
        expires_us=None,
        rows_delta=0 if current.is_deleted else -1,
        size_delta=-len(current.doc),
    )
