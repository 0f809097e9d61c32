"""What a decision may look at. A store reads it inside the transaction that carries the decision out."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from ragrid.services.memory.changes import Change, Create, Scope, Stored, Version, is_visible
from ragrid.services.memory.namespaces import Brought, Room
from ragrid.services.memory.protocol.memories import Written


class Remembered(msgspec.Struct, frozen=True):
    """What an idempotency key led to; `doc` is None once that content is erased."""

    fingerprint: bytes
    id: str
    version: int
    doc: bytes | None
    is_new: bool


class Outcome(msgspec.Struct, frozen=True):
    """What a decision comes to: an answer, and the versions to write, in order.

    `remembered_seq` is the event that the idempotency key of a Create led to; None when there is nothing to remember.
    """

    written: Written
    versions: tuple[Version, ...] = ()
    remembered_seq: int | None = None


class Ground(Protocol):
    """The store, as a decision sees it."""

    def stored(self, scope: Scope, memory_id: str) -> Stored | None:
        """Return what is held under an id, deleted and expired ones too."""
        ...

    def document(self, scope: Scope, memory_id: str, version: int) -> bytes | None:
        """Return the contents of one version; None when there is none, or nothing is left of it."""
        ...

    def twin(self, scope: Scope, fingerprint: bytes, now_us: int) -> str | None:
        """Return the newest visible memory with this fingerprint that nothing has superseded."""
        ...

    def room(self, scope: Scope) -> Room:
        """Return the settings of a namespace and what is in it."""
        ...

    def grid_models(self) -> Mapping[str, int | None]:
        """Return the models of the grid's embedders that are in use, with their dimensions; none where it has none."""
        ...

    def remembered(self, scope: Scope, actor: str, key: str, now_us: int) -> Remembered | None:
        """Return what an idempotency key of this tenant's caller led to, while it is remembered."""
        ...


class Overlay:
    """A Ground as it will be once some versions are written: what decides an atomic batch before any of it is."""

    def __init__(self, below: Ground) -> None:
        self._below = below
        self._versions: dict[tuple[Scope, str], list[Version]] = {}
        self._ids: dict[tuple[Scope, bytes], list[str]] = {}
        self._rooms: dict[Scope, Room] = {}
        self._requests: dict[tuple[str, str, str], Remembered] = {}

    def add(self, change: Change, outcome: Outcome) -> None:
        """Let what one decision writes be seen by the next."""
        scope = change.scope
        for version in outcome.versions:
            self._versions.setdefault((scope, version.id), []).append(version)
            if version.fingerprint is not None:
                self._ids.setdefault((scope, version.fingerprint), []).append(version.id)
        self._rooms[scope] = room_after(self.room(scope), outcome.versions)
        if outcome.remembered_seq is not None and isinstance(change, Create) and change.idempotency is not None:
            one, seen = change.idempotency, outcome.written
            known = Remembered(one.fingerprint, seen.id, seen.version, seen.doc, seen.is_new)
            self._requests[scope.tenant, change.actor, one.key] = known

    def stored(self, scope: Scope, memory_id: str) -> Stored | None:
        """See Ground."""
        versions = self._versions.get((scope, memory_id))
        return versions[-1].stored if versions else self._below.stored(scope, memory_id)

    def document(self, scope: Scope, memory_id: str, version: int) -> bytes | None:
        """See Ground."""
        versions = self._versions.get((scope, memory_id), [])
        if any(one.is_erasing and one.version >= version for one in versions):
            return None
        new = next((one.doc or None for one in versions if one.version == version), None)
        return new or self._below.document(scope, memory_id, version)

    def twin(self, scope: Scope, fingerprint: bytes, now_us: int) -> str | None:
        """See Ground. A twin below that the batch itself has changed is not one any more."""
        for memory_id in reversed(self._ids.get((scope, fingerprint), [])):
            last = self._versions[scope, memory_id][-1]
            if last.fingerprint == fingerprint and is_visible(last.stored, now_us) and not last.stored.superseded_by:
                return memory_id
        below = self._below.twin(scope, fingerprint, now_us)
        return None if (scope, below) in self._versions else below

    def room(self, scope: Scope) -> Room:
        """See Ground."""
        return self._rooms.get(scope) or self._below.room(scope)

    def grid_models(self) -> Mapping[str, int | None]:
        """See Ground."""
        return self._below.grid_models()

    def remembered(self, scope: Scope, actor: str, key: str, now_us: int) -> Remembered | None:
        """See Ground."""
        known = self._requests.get((scope.tenant, actor, key))
        return known or self._below.remembered(scope, actor, key, now_us)


def room_after(room: Room, versions: Sequence[Version]) -> Room:
    """Return what is in a namespace once `versions` are written."""
    rows = room.rows + sum(one.rows_delta for one in versions)
    size_bytes = room.size_bytes + sum(one.size_delta for one in versions)
    first = next((one.embedding for one in versions if one.embedding is not None and one.is_brought), None)
    brought = room.brought if first is None else room.brought or Brought(first.model, len(first.values))
    return Room(room.settings, rows, size_bytes, brought)
