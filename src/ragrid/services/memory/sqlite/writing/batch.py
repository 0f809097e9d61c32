"""Several changes in one piece of work. No savepoint: an atomic batch is decided whole before any of it is written."""

from collections.abc import Sequence

from ragrid.errors import RagridError
from ragrid.services.memory.batches import decide_all, results_of
from ragrid.services.memory.changes import Change
from ragrid.services.memory.protocol.batch import Results
from ragrid.services.memory.protocol.memories import Written
from ragrid.services.memory.sqlite.transaction import Transaction
from ragrid.services.memory.sqlite.writing.ground import SqliteGround
from ragrid.services.memory.sqlite.writing.memories import carry_out, write_down


def carry_out_all(transaction: Transaction, changes: Sequence[Change]) -> Results:
    """Carry out all changes, or none of them."""
    decided = decide_all(SqliteGround(transaction), changes, seq=transaction.seq + 1)
    if decided.refusal is None:
        for change, outcome in zip(changes, decided.outcomes, strict=True):
            write_down(transaction, change, outcome)
    return results_of(decided, len(changes))


def try_each(transaction: Transaction, changes: Sequence[Change]) -> Results:
    """Carry out each change that is not refused."""
    return tuple(_tried(transaction, change) for change in changes)


def _tried(transaction: Transaction, change: Change) -> Written | RagridError:
    try:
        return carry_out(transaction, change)
    except RagridError as refusal:  # refused before anything of it was written
        return refusal
