"""Everything that the in-memory store holds, and the one place where a version is written down."""

from collections.abc import Mapping

import msgspec

from ragrid.services.memory.changes import Scope, Stored, Version, is_visible
from ragrid.services.memory.embedding.sources import turn_of
from ragrid.services.memory.feed.watch import Watches
from ragrid.services.memory.filters.evaluate import meets
from ragrid.services.memory.ground import Remembered, room_after
from ragrid.services.memory.inmemory.embeddings import EmbeddingTables
from ragrid.services.memory.model import Memory
from ragrid.services.memory.namespaces import EMPTY, Namespace, PutNamespace, Room
from ragrid.services.memory.protocol.memories import Event, Filter

Key = tuple[Scope, str]


class Row(msgspec.Struct, frozen=True):
    """The current version of one id; `memory` is None once it has ended."""

    stored: Stored
    memory: Memory | None
    fingerprint: bytes | None


class Request(msgspec.Struct, frozen=True):
    """What an idempotency key led to, and until when it is remembered."""

    scope: Scope
    known: Remembered
    expires_us: int


class State:
    """The dictionaries that all facets of one store share; the Ground of their decisions."""

    def __init__(self) -> None:
        self.rows: dict[Key, Row] = {}
        self.events: dict[Key, list[Event]] = {}
        self.requests: dict[tuple[str, str, str], Request] = {}
        self.spaces: dict[Scope, Namespace] = {}
        self._spaces_made = 0
        self.embeddings = EmbeddingTables()
        self.seq = 0
        self.waiting = Watches()

    def apply(self, scope: Scope, version: Version) -> None:
        """Make `version` the current one and add it to the history."""
        key = (scope, version.id)
        self.seq = version.seq
        space = self.make_namespace(scope, version.at_us)
        room = room_after(space.room, [version])
        self.spaces[scope] = msgspec.structs.replace(space, room=room)
        events = self.events.setdefault(key, [])
        if version.is_erasing:
            events[:] = [msgspec.structs.replace(event, doc=None) for event in events]
        doc = version.doc or None
        events.append(Event(version.seq, version.version, version.op, version.actor, version.at_us, doc))
        self.rows[key] = Row(version.stored, version.memory, version.fingerprint)
        self.embeddings.note(scope, room, version)
        self.waiting.changed((scope,))

    def make_namespace(self, scope: Scope, at_us: int) -> Namespace:
        """Return a namespace, which the first write into it makes."""
        known = self.spaces.get(scope)
        if known is None:
            self._spaces_made += 1
            known = self.spaces[scope] = Namespace(scope.namespace, self._spaces_made, EMPTY, 1, at_us)
        return known

    def set_namespace(self, put: PutNamespace) -> Namespace:
        """Write down the settings of a namespace, and make it where there is none."""
        current = self.spaces.get(put.scope)
        version = 1 if current is None else current.version + 1
        base = self.make_namespace(put.scope, put.at_us)
        room = msgspec.structs.replace(base.room, settings=put.settings)
        turn = turn_of(base.room.settings.embedder, put.settings.embedder)
        if turn is not None:
            self.embeddings.follow_settings(put.scope, turn, put.at_us)
            room = room if turn.keeps_brought else msgspec.structs.replace(room, brought=None)
        changed = msgspec.structs.replace(
            base,
            room=room,
            version=version,
            updated_us=put.at_us,
            updated_by=put.actor,
        )
        self.spaces[put.scope] = changed
        return changed

    def drop_namespace(self, scope: Scope) -> None:
        """Forget a namespace and all that is in it."""
        del self.spaces[scope]
        self.embeddings.drop(scope)
        self.rows = {key: row for key, row in self.rows.items() if key[0] != scope}
        self.events = {key: events for key, events in self.events.items() if key[0] != scope}
        self.requests = {name: one for name, one in self.requests.items() if one.scope != scope}

    def stored(self, scope: Scope, memory_id: str) -> Stored | None:
        """See Ground."""
        row = self.rows.get((scope, memory_id))
        return None if row is None else row.stored

    def document(self, scope: Scope, memory_id: str, version: int) -> bytes | None:
        """See Ground."""
        events = self.events.get((scope, memory_id), [])
        return next((event.doc for event in events if event.version == version), None)

    def twin(self, scope: Scope, fingerprint: bytes, now_us: int) -> str | None:
        """See Ground."""
        seen = [
            (row.stored.position, memory_id)
            for (owner, memory_id), row in self.rows.items()
            if owner == scope
            and row.fingerprint == fingerprint
            and is_visible(row.stored, now_us)
            and row.stored.superseded_by is None
        ]
        return max(seen)[1] if seen else None

    def room(self, scope: Scope) -> Room:
        """See Ground."""
        space = self.spaces.get(scope)
        return EMPTY if space is None else space.room

    def grid_models(self) -> Mapping[str, int | None]:
        """See Ground."""
        return self.embeddings.in_use

    def remembered(self, scope: Scope, actor: str, key: str, now_us: int) -> Remembered | None:
        """See Ground."""
        request = self.requests.get((scope.tenant, actor, key))
        if request is None or request.expires_us <= now_us:
            return None
        doc = self.document(request.scope, request.known.id, request.known.version)
        return msgspec.structs.replace(request.known, doc=doc)

    def matching(self, scope: Scope, wanted: Filter, now_us: int) -> list[Row]:
        """Return what `scope` may see now and `wanted` lets through."""
        return [
            row
            for (owner, _), row in self.rows.items()
            if owner == scope and is_visible(row.stored, now_us) and row.memory and fits(row, row.memory, wanted)
        ]


def fits(row: Row, memory: Memory, wanted: Filter) -> bool:
    """Tell whether a memory matches all of a filter."""
    if wanted.where is not None and not meets(msgspec.json.decode(row.stored.doc), wanted.where):
        return False
    return set(wanted.tags) <= set(memory.tags) and all(
        value is None or getattr(memory, name) == value
        for name, value in (
            ("type", wanted.type),
            ("user_id", wanted.user_id),
            ("agent_id", wanted.agent_id),
            ("session_id", wanted.session_id),
        )
    )
