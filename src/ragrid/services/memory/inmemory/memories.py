"""Memories one by one and in lists, in dictionaries."""

import msgspec

from ragrid.services.memory.changes import Change, Create, Idempotency, Scope, decide, is_expired, is_visible
from ragrid.services.memory.errors import KeyReusedError, ReplayGoneError
from ragrid.services.memory.inmemory.state import Remembered, State
from ragrid.services.memory.protocol.memories import (
    IDEMPOTENCY_US,
    Event,
    Filter,
    Page,
    Read,
    Written,
    is_replay_of,
    written,
)


class InMemoryMemories(State):
    """See protocol/memories.py."""

    async def read(self, scope: Scope, memory_id: str, *, now_us: int) -> Read | None:
        """See Memories."""
        row = self.rows.get((scope, memory_id))
        if row is None or not is_visible(row.stored, now_us):
            return None
        return Read(row.stored.version, row.stored.doc)

    async def change(self, change: Change) -> Written:
        """See Memories."""
        key = (change.scope, change.id)
        idempotency = change.idempotency if isinstance(change, Create) else None
        if isinstance(change, Create) and idempotency is not None:
            replay = self._replay(change, idempotency)
            if replay is not None:
                return replay
        row = self.rows.get(key)
        versions = decide(row.stored if row else None, change, seq=self.seq + 1)
        for version in versions:
            self.apply(key, version)
        result = written(versions)
        if idempotency is not None:
            name = (change.scope.tenant, change.actor, idempotency.key)
            self.requests[name] = Remembered(idempotency, key, result, change.at_us + IDEMPOTENCY_US)
        return result

    async def page(self, scope: Scope, wanted: Filter, *, now_us: int, limit: int, before: int | None = None) -> Page:
        """See Memories."""
        rows = sorted(self.matching(scope, wanted, now_us), key=lambda row: -row.stored.position)
        rows = [row for row in rows if before is None or row.stored.position < before]
        more = rows[limit - 1].stored.position if len(rows) > limit else None
        return Page(tuple(row.stored.doc for row in rows[:limit]), more)

    async def history(
        self, scope: Scope, memory_id: str, *, now_us: int, limit: int, before: int | None = None
    ) -> tuple[Event, ...] | None:
        """See Memories."""
        row = self.rows.get((scope, memory_id))
        events = self.events.get((scope, memory_id), [])
        if row is None or is_expired(row.stored, now_us) or events[-1].op == "expire":
            return None
        return tuple(event for event in reversed(events) if before is None or event.seq < before)[:limit]

    def _replay(self, create: Create, idempotency: Idempotency) -> Written | None:
        known = self.requests.get((create.scope.tenant, create.actor, idempotency.key))
        if known is None or known.expires_us <= create.at_us:
            return None
        if not is_replay_of(create, known.idempotency.fingerprint):
            raise KeyReusedError(f"idempotency key {idempotency.key!r} came before with another request")
        created = next(event for event in self.events[known.key] if event.version == known.result.version)
        if created.doc is None or is_expired(self.rows[known.key].stored, create.at_us):
            raise ReplayGoneError(f"the memory that idempotency key {idempotency.key!r} made has expired")
        return msgspec.structs.replace(known.result, is_replay=True)
