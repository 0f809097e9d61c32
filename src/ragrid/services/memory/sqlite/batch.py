"""Several changes in one, in SQLite: one piece of work for the writer, and so one commit."""

from collections.abc import Sequence

from ragrid.services.memory.changes import Change, Delete, Purge
from ragrid.services.memory.protocol.batch import Results
from ragrid.services.memory.sqlite.connections import Connections
from ragrid.services.memory.sqlite.writing.batch import carry_out_all, try_each


class SqliteBatches(Connections):
    """See protocol/batch.py."""

    async def change_all(self, changes: Sequence[Change], *, is_atomic: bool) -> Results:
        """See Batches."""
        work = carry_out_all if is_atomic else try_each
        results: Results = await self.writer.submit(
            lambda transaction: work(transaction, changes),
            makes_room=all(isinstance(change, Delete | Purge) for change in changes),
            weight=len(changes),
        )
        return results
