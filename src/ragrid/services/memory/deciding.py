"""What a change does to a memory: decided purely, so that every store adapter means the same by it."""

from collections.abc import Sequence
from typing import Any

import msgspec

from ragrid.services.memory.changes import (
    ANY,
    Change,
    Condition,
    Create,
    Delete,
    Patch,
    Purge,
    Replace,
    Restore,
    Scope,
    Stored,
    Version,
    is_expired,
    is_visible,
)
from ragrid.services.memory.embedding.sources import fault_of_vector, is_brought
from ragrid.services.memory.errors import (
    InvalidMemoryError,
    KeyReusedError,
    PreconditionRequiredError,
    QuotaError,
    ReplayGoneError,
    VersionError,
    no_memory,
)
from ragrid.services.memory.ground import Ground, Outcome, room_after
from ragrid.services.memory.model import WRITABLE, MemoryInput, fingerprint_of, microseconds
from ragrid.services.memory.namespaces import NamespaceSettings, Room
from ragrid.services.memory.ownership import held_to_owner, is_owned, owned
from ragrid.services.memory.protocol.memories import Written
from ragrid.services.memory.validate import convert_input
from ragrid.services.memory.versions import Place, deleted, expired, purged, rendered, superseded


def decide(ground: Ground, change: Change, *, seq: int) -> Outcome:
    """Return what carries out `change`, its versions numbered from `seq` on; an expired memory is ended first.

    Versions of one id only ever grow, also across a delete and a purge, so an ETag never comes back with other content.
    Raises NotFoundError, VersionError, PreconditionRequiredError, InvalidMemoryError, QuotaError, KeyReusedError or
    ReplayGoneError.
    """
    room = ground.room(change.scope)
    if change.owner is not None:
        change = held_to_owner(ground, change, change.owner)
    if isinstance(change, Create):
        known = _known(ground, change, room.settings)
        if known is not None:
            return known
    # The id of a Create is new by construction.
    current = None if isinstance(change, Create) else ground.stored(change.scope, change.id)
    live = current if current is not None and is_visible(current, change.at_us) else None
    _require_presence(change, current, live)
    _require_condition(change, live, room.settings)
    match change:
        case Delete() if live is not None:
            versions: tuple[Version, ...] = (deleted(change, live, seq=seq),)
        case Purge() if current is not None:
            versions = (purged(change, current, seq=seq),)
        case Create() | Replace() | Patch() | Restore():
            versions = _contents(_Case(ground, room.settings, current, live), change, seq=seq)
        case _:
            raise AssertionError("refused above: there is nothing to delete or purge")
    _require_room(room, versions)
    main = next(one for one in versions if one.id == change.id and one.op != "expire")
    remembered_seq = main.seq if isinstance(change, Create) and change.idempotency is not None else None
    return Outcome(Written(main.id, main.version, main.doc, main.is_made), versions, remembered_seq)


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


class _Case(msgspec.Struct, frozen=True):
    """What a change meets: the settings of its namespace, what is held under its id, and that while it is visible."""

    ground: Any  # a Ground; msgspec has no use for protocols
    settings: NamespaceSettings
    current: Stored | None
    live: Stored | None


def _known(ground: Ground, create: Create, settings: NamespaceSettings) -> Outcome | None:
    """Return the answer that was given before: to the same request, or for the same contents where that is wished."""
    if create.idempotency is not None:
        replayed = _replayed(ground, create)
        if replayed is not None:
            return Outcome(replayed)
    if (create.on_duplicate or settings.on_duplicate) != "return":
        return None
    twin = ground.twin(create.scope, fingerprint_of(create.given), create.at_us)
    stored = None if twin is None else ground.stored(create.scope, twin)
    if twin is None or stored is None:
        return None
    seq = msgspec.json.decode(stored.doc)["seq"] if create.idempotency is not None else None
    return Outcome(Written(twin, stored.version, stored.doc, is_new=False), remembered_seq=seq)


def _replayed(ground: Ground, create: Create) -> Written | None:
    if create.idempotency is None:
        return None
    key = create.idempotency.key
    known = ground.remembered(create.scope, create.actor, key, create.at_us)
    if known is None:
        return None
    if known.fingerprint != create.idempotency.fingerprint:
        raise KeyReusedError(f"idempotency key {key!r} came before with another request; choose a new key")
    # The fingerprint holds the namespace, so what was made lies in this one.
    current = ground.stored(create.scope, known.id)
    if known.doc is None or current is None or is_expired(current, create.at_us):
        raise ReplayGoneError(f"the memory that idempotency key {key!r} made has ended; choose a new key")
    return Written(known.id, known.version, known.doc, known.is_new, is_replay=True)


def _require_presence(change: Change, current: Stored | None, live: Stored | None) -> None:
    if isinstance(change, Create | Replace):
        return
    if isinstance(change, Patch | Delete):
        is_there = live is not None
    else:
        is_there = current is not None and not current.is_erased and not is_expired(current, change.at_us)
    if not is_there:
        raise no_memory(change.id, change.scope.namespace)


def _require_condition(change: Change, live: Stored | None, settings: NamespaceSettings) -> None:
    condition: Condition = change.condition
    if settings.require_if_match and condition == ANY and not isinstance(change, Create):
        raise PreconditionRequiredError(
            f"namespace {change.scope.namespace!r} takes a change only with If-Match: the ETag of the version it is "
            "for; or If-None-Match: * for a new memory"
        )
    version = None if live is None else live.version
    if condition.must_be_absent and live is not None:
        raise VersionError(f"the memory exists (version {version}), wanted none", version)
    if condition.must_exist and live is None:
        raise VersionError("there is no such memory, wanted any version", None)
    if condition.versions is not None and version not in condition.versions:
        wanted = " or ".join(str(one) for one in sorted(condition.versions)) or "no version at all"
        found = "there is no such memory" if version is None else f"the memory is at version {version}"
        raise VersionError(f"{found}, wanted {wanted}; read it again", version)


def _require_room(room: Room, versions: Sequence[Version]) -> None:
    """Refuse what grows a namespace beyond its quota; what makes it smaller is always taken."""
    settings = room.settings
    if settings.quota_rows is None and settings.quota_bytes is None:
        return
    after = room_after(room, versions)
    for name, before, value, limit in (
        ("quota_rows", room.rows, after.rows, settings.quota_rows),
        ("quota_bytes", room.size_bytes, after.size_bytes, settings.quota_bytes),
    ):
        if limit is not None and value > limit and value > before:
            raise QuotaError(f"the namespace would come to {value}, wanted at most {limit} ({name})", name, limit)


def _contents(case: _Case, change: Create | Replace | Patch | Restore, *, seq: int) -> tuple[Version, ...]:
    """Return the versions of a change that leaves contents behind."""
    current, live = case.current, case.live
    first: tuple[Version, ...] = ()
    if current is not None and live is None and is_expired(current, change.at_us):
        first = (expired(current, change.id, seq=seq, at_us=change.at_us),)
    given = _given(case, change)
    if change.owner is not None:
        given = owned(given, change.owner)
    own = _require_fitting_vector(case.ground, change.scope, given)
    marked = _marked(case, change, given)
    if marked and marked[-1] not in given.supersedes:
        given = msgspec.structs.replace(given, supersedes=(*given.supersedes, marked[-1]))
    if marked and live is not None:  # what takes the place of others holds itself: else two could hide one another
        live = msgspec.structs.replace(live, superseded_by=None)
    at = seq + len(first)
    version = first[0].version if first else (current.version if current is not None else 0)
    place = Place(position=at if live is None else live.position, version=version + 1, seq=at)
    main = rendered(change, given, current if isinstance(change, Restore) else live, live, place, is_brought=own)
    if not marked and not first:
        return (main,)
    marks = tuple(
        superseded(change, stored, seq=at + number)
        for number, one in enumerate(marked, start=1)
        if (stored := case.ground.stored(change.scope, one)) is not None
    )
    return (*first, main, *marks)


def _require_fitting_vector(ground: Ground, scope: Scope, given: MemoryInput) -> bool:
    """Refuse a vector that the namespace cannot keep; tell whether one that it can is of the namespace's own model."""
    if given.embedding is None:
        return False
    room, models = ground.room(scope), ground.grid_models()
    fault = fault_of_vector(given.embedding, room, models)
    if fault is not None:
        raise InvalidMemoryError([fault])
    return is_brought(room, models)


def _given(case: _Case, change: Create | Replace | Patch | Restore) -> MemoryInput:
    if isinstance(change, Create | Replace):
        given, ttl_s = change.given, case.settings.default_ttl_seconds
        if ttl_s is None or given.ttl_seconds is not None or given.expires_at is not None:
            return given
        return msgspec.structs.replace(given, ttl_seconds=ttl_s)
    if case.current is None:
        raise AssertionError("refused above: there is nothing to patch or restore")
    return _merged(case.current.doc, change) if isinstance(change, Patch) else _earlier(case, change, case.current)


def _merged(doc: bytes, change: Patch) -> MemoryInput:
    base = _writable(doc)
    if "ttl_seconds" in change.patch:
        base.pop("expires_at", None)
    names_expiry = "expires_at" in change.patch
    try:
        return convert_input(merge(base, change.patch), now_us=change.at_us if names_expiry else None)
    except RecursionError as error:
        raise InvalidMemoryError([("", "nested too deeply")]) from error


def _earlier(case: _Case, change: Restore, current: Stored) -> MemoryInput:
    """Return the contents of the version that is wanted back."""
    version = current.version - 1 if change.version is None else change.version
    doc = case.ground.document(change.scope, change.id, version)
    if doc is None or not is_owned(doc, change.owner):
        if change.owner is not None and current.is_deleted:  # nothing says whose it was
            raise no_memory(change.id, change.scope.namespace)
        fault = f"version {version} holds no contents; the history tells which do"
        raise InvalidMemoryError([("/version", fault)])
    given = convert_input(_writable(doc), now_us=None)
    if given.expires_at is not None and not given.pinned and microseconds(given.expires_at) <= change.at_us:
        fault = f"version {version} expired at {given.expires_at.isoformat()}; restore another one"
        raise InvalidMemoryError([("/version", fault)])
    return given


def _writable(doc: bytes) -> dict[str, Any]:
    before = msgspec.json.decode(doc)
    return {name: before[name] for name in WRITABLE if before.get(name) is not None}


def _marked(case: _Case, change: Create | Replace | Patch | Restore, given: MemoryInput) -> tuple[str, ...]:
    """Return the ids that this change supersedes: those that it newly names, and the twin where that is wished."""
    new: list[str] = []
    if given.supersedes and not isinstance(change, Restore):
        before = set() if case.live is None else set(_writable(case.live.doc).get("supersedes", ()))
        new += [one for one in given.supersedes if one not in before]
        faults = [
            (f"/supersedes/{given.supersedes.index(one)}", fault)
            for one in new
            if (fault := _superseding_fault(case, change, one)) is not None
        ]
        if faults:
            raise InvalidMemoryError(faults)
    if isinstance(change, Create) and (change.on_duplicate or case.settings.on_duplicate) == "supersede":
        twin = case.ground.twin(change.scope, fingerprint_of(given), change.at_us)
        new += [twin] if twin is not None and twin not in new else []
    return tuple(new)


def _superseding_fault(case: _Case, change: Change, memory_id: str) -> str | None:
    if memory_id == change.id:
        return "a memory cannot supersede itself"
    stored = case.ground.stored(change.scope, memory_id)
    if stored is None or not is_visible(stored, change.at_us) or not is_owned(stored.doc, change.owner):
        return f"no memory {memory_id!r} in this namespace"
    return None
