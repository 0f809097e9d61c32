"""What a change does to a memory: decided purely, so that every store adapter means the same by it."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from ragrid.services.memory.errors import InvalidMemoryError, NotFoundError, VersionError
from ragrid.services.memory.model import WRITABLE, Memory, MemoryInput, microseconds, moment
from ragrid.services.memory.validate import convert_input

Op = Literal["create", "update", "delete", "expire"]

#: Who is named in the history when time ended a memory.
EXPIRY_ACTOR = "expiry"

_encode = msgspec.json.Encoder().encode


class Scope(msgspec.Struct, frozen=True):
    """The walls around a memory: nothing is ever seen or touched across either."""

    tenant: str
    namespace: str


class Condition(msgspec.Struct, frozen=True):
    """What must hold before a change: one of `versions`, or that the memory is there, or that it is not."""

    versions: frozenset[int] | None = None
    must_exist: bool = False
    must_be_absent: bool = False


class Idempotency(msgspec.Struct, frozen=True):
    """A caller's name for one request, and a digest of that request."""

    key: str
    fingerprint: bytes


ANY = Condition()


class Create(msgspec.Struct, frozen=True):
    """Make a memory under an id that was never used."""

    scope: Scope
    id: str
    actor: str
    at_us: int
    given: MemoryInput
    idempotency: Idempotency | None = None
    condition: Condition = ANY


class Replace(msgspec.Struct, frozen=True):
    """Make or replace the memory at a key of the caller's."""

    scope: Scope
    id: str
    actor: str
    at_us: int
    given: MemoryInput
    condition: Condition = ANY


class Patch(msgspec.Struct, frozen=True):
    """Merge a document into a memory (RFC 7396)."""

    scope: Scope
    id: str
    actor: str
    at_us: int
    patch: Mapping[str, Any]
    condition: Condition = ANY


class Delete(msgspec.Struct, frozen=True):
    """Remove a memory; its history stays."""

    scope: Scope
    id: str
    actor: str
    at_us: int
    condition: Condition = ANY


Change = Create | Replace | Patch | Delete


class Stored(msgspec.Struct, frozen=True):
    """What a store holds under an id. `position` is the `seq` at which the memory was made: the order of lists."""

    position: int
    version: int
    doc: bytes
    created_us: int
    created_by: str
    expires_us: int | None
    is_deleted: bool


class Version(msgspec.Struct, frozen=True):
    """One step in the life of a memory; `memory` is None and `doc` empty when the step ends it."""

    op: Op
    id: str
    position: int
    version: int
    seq: int
    at_us: int
    actor: str
    created_us: int
    created_by: str
    memory: Memory | None
    doc: bytes
    expires_us: int | None


def is_visible(stored: Stored, now_us: int) -> bool:
    """Tell whether a reader sees it at `now_us`: not deleted, and not at or past its expiry."""
    return not stored.is_deleted and not is_expired(stored, now_us)


def is_expired(stored: Stored, now_us: int) -> bool:
    """Tell whether its time is over at `now_us`, deleted or not."""
    return stored.expires_us is not None and stored.expires_us <= now_us


def decide(current: Stored | None, change: Change, *, seq: int) -> tuple[Version, ...]:
    """Return the steps that carry out `change`, numbered from `seq` on; an expired memory is ended first.

    Versions of one id only ever grow, also across a delete, so an ETag never comes back with other content.
    Raises NotFoundError, VersionError or InvalidMemoryError.
    """
    live = current if current is not None and is_visible(current, change.at_us) else None
    if live is None and isinstance(change, Patch | Delete):
        raise NotFoundError(f"no memory {change.id!r} in namespace {change.scope.namespace!r}")
    _check(change.condition, live)
    if live is not None:
        if isinstance(change, Delete):
            # A deleted memory keeps its expiry: from then on its history shows no content either.
            return (_ended(change, live, seq=seq),)
        given = _merged(live.doc, change) if isinstance(change, Patch) else change.given
        return (_rendered(change, given, live, position=live.position, seq=seq, version=live.version + 1),)
    if isinstance(change, Patch | Delete):
        raise AssertionError("handled above: there is nothing to patch or delete")
    first: tuple[Version, ...] = ()
    if current is not None and is_expired(current, change.at_us):
        first = (expire(current, change.id, seq=seq, at_us=change.at_us),)
    version = first[0].version if first else (current.version if current is not None else 0)
    at = seq + len(first)
    return (*first, _rendered(change, change.given, None, position=at, seq=at, version=version + 1))


def expire(current: Stored, memory_id: str, *, seq: int, at_us: int) -> Version:
    """Return the step that ends a memory whose time is over, deleted before or not; all its contents go."""
    return _tombstone("expire", current, memory_id, seq=seq, at_us=at_us, actor=EXPIRY_ACTOR)


def merge(target: object, patch: object) -> Any:
    """Return `target` with `patch` merged in, after RFC 7396; neither is changed."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge(result.get(name), value)
    return result


def _check(condition: Condition, live: Stored | None) -> None:
    version = None if live is None else live.version
    if condition.must_be_absent and live is not None:
        raise VersionError(f"the memory exists (version {version}), wanted none", version)
    if condition.must_exist and live is None:
        raise VersionError("there is no such memory, wanted any version", None)
    if condition.versions is not None and version not in condition.versions:
        wanted = " or ".join(str(one) for one in sorted(condition.versions)) or "no version at all"
        raise VersionError(f"the memory is at version {version}, wanted {wanted}; read it again", version)


def _merged(doc: bytes, change: Patch) -> MemoryInput:
    before = msgspec.json.decode(doc)
    base = {name: before[name] for name in WRITABLE if before.get(name) is not None}
    if "ttl_seconds" in change.patch:
        base.pop("expires_at", None)
    names_expiry = "expires_at" in change.patch
    try:
        return convert_input(merge(base, change.patch), now_us=change.at_us if names_expiry else None)
    except RecursionError as error:
        raise InvalidMemoryError([("", "nested too deeply")]) from error


def _rendered(
    change: Create | Replace | Patch,
    given: MemoryInput,
    live: Stored | None,
    *,
    position: int,
    seq: int,
    version: int,
) -> Version:
    created_us, created_by = (change.at_us, change.actor) if live is None else (live.created_us, live.created_by)
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
        pinned=given.pinned,
        expires_at=expires_at,
        version=version,
        seq=seq,
        created_at=moment(created_us),
        created_by=created_by,
        updated_at=moment(change.at_us),
        updated_by=change.actor,
    )
    return Version(
        op="create" if live is None else "update",
        id=change.id,
        position=position,
        version=version,
        seq=seq,
        at_us=change.at_us,
        actor=change.actor,
        created_us=created_us,
        created_by=created_by,
        memory=memory,
        doc=_encode(memory),
        # While it is pinned, a memory does not expire.
        expires_us=None if expires_at is None or given.pinned else microseconds(expires_at),
    )


def _ended(change: Delete, live: Stored, *, seq: int) -> Version:
    ended = _tombstone("delete", live, change.id, seq=seq, at_us=change.at_us, actor=change.actor)
    return msgspec.structs.replace(ended, expires_us=live.expires_us)


def _tombstone(op: Op, current: Stored, memory_id: str, *, seq: int, at_us: int, actor: str) -> Version:
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
    )
