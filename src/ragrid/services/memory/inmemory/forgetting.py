"""Counting and choosing by filter, in dictionaries."""

from ragrid.services.memory.changes import Scope
from ragrid.services.memory.inmemory.state import State
from ragrid.services.memory.protocol.forgetting import Counted
from ragrid.services.memory.protocol.memories import Filter


class InMemoryForgetting(State):
    """See protocol/forgetting.py."""

    async def count(self, scope: Scope, wanted: Filter, *, now_us: int) -> Counted:
        """See Forgetting."""
        return Counted(len(self.matching(scope, wanted, now_us)), self.seq)

    async def chosen(
        self, scope: Scope, wanted: Filter, *, now_us: int, up_to_seq: int, limit: int
    ) -> tuple[tuple[str, int], ...]:
        """See Forgetting."""
        seen = [row.memory for row in self.matching(scope, wanted, now_us) if row.memory is not None]
        return tuple((one.id, one.version) for one in seen if one.seq <= up_to_seq)[:limit]
