"""Several changes in one, in PostgreSQL: one piece of work for the writer, and so one commit."""

from collections.abc import Sequence

from ragrid.errors import RagridError
from ragrid.services.memory.batches import decide_all, results_of
from ragrid.services.memory.changes import Change, Create
from ragrid.services.memory.model import fingerprint_of
from ragrid.services.memory.postgresql.connections import Connections
from ragrid.services.memory.postgresql.lanes import Job
from ragrid.services.memory.postgresql.transaction import Transaction
from ragrid.services.memory.postgresql.workspace import Need, NotLoadedError, joined, need_of
from ragrid.services.memory.protocol.batch import Results
from ragrid.services.memory.protocol.memories import Written


class PostgresBatches(Connections):
    """See protocol/batch.py."""

    async def change_all(self, changes: Sequence[Change], *, is_atomic: bool) -> Results:
        """See Batches."""
        if not changes:
            return ()
        work = _carry_out_all if is_atomic else _try_each
        need = joined(need_of(change) for change in changes)
        job = Job(lambda transaction: work(transaction, changes), need, weight=len(changes))
        results: Results = await self.writer.submit(changes[0].scope.tenant, job)
        return results


async def _carry_out_all(transaction: Transaction, changes: Sequence[Change]) -> Results:
    """Carry out all changes, or none of them: nothing is noted before all are decided."""
    workspace = transaction.workspace
    while True:
        try:
            decided = decide_all(workspace, changes, seq=workspace.seq + 1)
            break
        except NotLoadedError as error:
            await transaction.load(_for_all(error.need, changes))
    if decided.refusal is None:
        for change, outcome in zip(changes, decided.outcomes, strict=True):
            workspace.carry_out(change, outcome)
    return results_of(decided, len(changes))


async def _try_each(transaction: Transaction, changes: Sequence[Change]) -> Results:
    """Carry out each change that is not refused."""
    return tuple([await _tried(transaction, change) for change in changes])


async def _tried(transaction: Transaction, change: Change) -> Written | RagridError:
    try:
        return await transaction.change(change)
    except RagridError as refusal:  # refused before anything of it was noted
        return refusal


def _for_all(need: Need, changes: Sequence[Change]) -> Need:
    """Return what one decision lacks; where that is its twins, those of all, so that they are not asked for singly."""
    if not need.twins:
        return need
    creates = [one for one in changes if isinstance(one, Create)]
    return joined([need, Need(twins=tuple((one.scope.namespace, fingerprint_of(one.given)) for one in creates))])
