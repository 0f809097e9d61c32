"""Memories one by one and in lists, in dictionaries."""

from ragrid.services.memory.changes import Change, Create, Scope, is_expired, is_visible
from ragrid.services.memory.deciding import decide
from ragrid.services.memory.ground import Outcome, Remembered
from ragrid.services.memory.inmemory.state import Request, State
from ragrid.services.memory.protocol.memories import (
    IDEMPOTENCY_US,
    Event,
    Filter,
    Page,
    Read,
    Written,
    past_read,
)


class InMemoryMemories(State):
    """See protocol/memories.py."""

    async def read(self, scope: Scope, memory_id: str, *, now_us: int) -> Read | None:
        """See Memories."""
        row = self.rows.get((scope, memory_id))
        if row is None or not is_visible(row.stored, now_us):
            return None
        return Read(row.stored.version, row.stored.doc)

    async def read_past(
        self, scope: Scope, memory_id: str, *, now_us: int, version: int | None = None, as_of_us: int | None = None
    ) -> Read | None:
        """See Memories."""
        events = await self.history(scope, memory_id, now_us=now_us, limit=len(self.events.get((scope, memory_id), [])))
        for event in events or ():
            if event.version == version or (as_of_us is not None and event.at_us <= as_of_us):
                return past_read(event.version, event.doc, as_of_us)
        return None

    async def change(self, change: Change) -> Written:
        """See Memories."""
        outcome = decide(self, change, seq=self.seq + 1)
        self.carry_out(change, outcome)
        return outcome.written

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
        if row is None or row.stored.is_erased or is_expired(row.stored, now_us):
            return None
        return tuple(event for event in reversed(events) if before is None or event.seq < before)[:limit]

    def carry_out(self, change: Change, outcome: Outcome) -> None:
        """Write down what was decided."""
        for version in outcome.versions:
            self.apply(change.scope, version)
        if outcome.remembered_seq is not None and isinstance(change, Create) and change.idempotency is not None:
            one, seen = change.idempotency, outcome.written
            known = Remembered(one.fingerprint, seen.id, seen.version, seen.doc, seen.is_new)
            name = (change.scope.tenant, change.actor, one.key)
            self.requests[name] = Request(change.scope, known, change.at_us + IDEMPOTENCY_US)
