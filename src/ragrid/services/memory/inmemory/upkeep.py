"""Sweeping and counting, in dictionaries."""

from ragrid.services.memory.changes import is_expired
from ragrid.services.memory.inmemory.state import State
from ragrid.services.memory.protocol.upkeep import Stats
from ragrid.services.memory.versions import expired


class InMemoryUpkeep(State):
    """See protocol/upkeep.py."""

    async def sweep(self, *, now_us: int, limit: int) -> int:
        """See Upkeep."""
        ended = [(key, row.stored) for key, row in self.rows.items() if is_expired(row.stored, now_us)]
        ended.sort(key=lambda one: one[1].expires_us or 0)
        for key, stored in ended[:limit]:
            self.apply(key[0], expired(stored, key[1], seq=self.seq + 1, at_us=now_us))
        old = [name for name, one in self.requests.items() if one.expires_us <= now_us]
        for name in old[:limit]:
            del self.requests[name]
        return len(ended[:limit])

    async def probe(self) -> None:
        """See Upkeep."""

    async def stats(self) -> Stats:
        """See Upkeep."""
        live = [row for row in self.rows.values() if not row.stored.is_deleted]
        return Stats(len(live), sum(len(row.stored.doc) for row in live))

    async def close(self) -> None:
        """See Upkeep."""
