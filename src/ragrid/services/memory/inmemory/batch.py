"""Several changes in one, in dictionaries."""

from collections.abc import Sequence

from ragrid.errors import RagridError
from ragrid.services.memory.batches import decide_all, results_of
from ragrid.services.memory.changes import Change
from ragrid.services.memory.inmemory.memories import InMemoryMemories
from ragrid.services.memory.protocol.batch import Results
from ragrid.services.memory.protocol.memories import Written


class InMemoryBatches(InMemoryMemories):
    """See protocol/batch.py."""

    async def change_all(self, changes: Sequence[Change], *, is_atomic: bool) -> Results:
        """See Batches."""
        if not is_atomic:
            return tuple([await self._tried(change) for change in changes])
        decided = decide_all(self, changes, seq=self.seq + 1)
        if decided.refusal is None:
            for change, outcome in zip(changes, decided.outcomes, strict=True):
                self.carry_out(change, outcome)
        return results_of(decided, len(changes))

    async def _tried(self, change: Change) -> Written | RagridError:
        try:
            return await self.change(change)
        except RagridError as refusal:
            return refusal
