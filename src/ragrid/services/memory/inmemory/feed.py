"""The change feed, in dictionaries."""

from ragrid.services.memory.changes import Scope, is_expired
from ragrid.services.memory.feed.watch import Watches
from ragrid.services.memory.inmemory.state import State
from ragrid.services.memory.protocol.feed import PAGE_BYTES, Changes, FeedEvent


class InMemoryFeed(State):
    """See protocol/feed.py."""

    @property
    def watches(self) -> Watches:
        """See Feed."""
        return self.waiting

    async def changes(self, scope: Scope, *, since: int, now_us: int, limit: int) -> Changes:
        """See Feed."""
        found = [event for event in self._all(scope, now_us) if event.seq > since]
        found.sort(key=lambda event: event.seq)
        fitting: list[FeedEvent] = []
        size_bytes = 0
        for event in found[:limit]:
            size_bytes += len(event.doc or b"")
            if fitting and size_bytes > PAGE_BYTES:
                break
            fitting.append(event)
        return Changes(tuple(fitting), self.seq, has_more=len(fitting) < len(found))

    def _all(self, scope: Scope, now_us: int) -> list[FeedEvent]:
        found: list[FeedEvent] = []
        for (owner, memory_id), events in self.events.items():
            if owner != scope:
                continue
            row = self.rows.get((owner, memory_id))
            is_gone = row is None or is_expired(row.stored, now_us)
            found += [
                FeedEvent(one.seq, one.op, memory_id, one.version, one.at_us, one.actor, None if is_gone else one.doc)
                for one in events
            ]
        return found
