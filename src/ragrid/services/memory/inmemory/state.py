"""Everything that the in-memory store holds, and the one place where a version is written down."""

import msgspec

from ragrid.services.memory.changes import Idempotency, Scope, Stored, Version, is_visible
from ragrid.services.memory.filters.evaluate import meets
from ragrid.services.memory.model import Memory
from ragrid.services.memory.protocol.memories import Event, Filter, Written

Key = tuple[Scope, str]


class Row(msgspec.Struct, frozen=True):
    """The current version of one id; `memory` is None once it is deleted."""

    stored: Stored
    memory: Memory | None


class Remembered(msgspec.Struct, frozen=True):
    """What an idempotency key led to."""

    idempotency: Idempotency
    key: Key
    result: Written
    expires_us: int


class State:
    """The dictionaries that all facets of one store share."""

    def __init__(self) -> None:
        self.rows: dict[Key, Row] = {}
        self.events: dict[Key, list[Event]] = {}
        self.requests: dict[tuple[str, str, str], Remembered] = {}
        self.seq = 0

    def apply(self, key: Key, version: Version) -> None:
        """Make `version` the current one and add it to the history; an expiry erases the contents there."""
        self.seq = version.seq
        events = self.events.setdefault(key, [])
        if version.op == "expire":
            events[:] = [msgspec.structs.replace(event, doc=None) for event in events]
        doc = version.doc or None
        events.append(Event(version.seq, version.version, version.op, version.actor, version.at_us, doc))
        stored = Stored(
            position=version.position,
            version=version.version,
            doc=version.doc,
            created_us=version.created_us,
            created_by=version.created_by,
            expires_us=version.expires_us,
            is_deleted=version.memory is None,
        )
        self.rows[key] = Row(stored, version.memory)

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
