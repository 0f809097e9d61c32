"""Changes of memories."""

from ragrid.services.memory.changes import Change, Create
from ragrid.services.memory.deciding import decide
from ragrid.services.memory.ground import Outcome
from ragrid.services.memory.protocol.memories import IDEMPOTENCY_US, Written
from ragrid.services.memory.sqlite.transaction import Transaction
from ragrid.services.memory.sqlite.writing.ground import SqliteGround
from ragrid.services.memory.sqlite.writing.versions import apply

_REMEMBER = "INSERT OR REPLACE INTO idempotency VALUES (?, ?, ?, ?, ?, ?, ?)"


def carry_out(transaction: Transaction, change: Change) -> Written:
    """Carry out one change, or raise its refusal before anything is written.

    No savepoint guards it: each would make the full-text index write out a segment (118 instead of 74 µs of
    processor time a change, in batches of 32).
    """
    outcome = decide(SqliteGround(transaction), change, seq=transaction.seq + 1)
    write_down(transaction, change, outcome)
    return outcome.written


def write_down(transaction: Transaction, change: Change, outcome: Outcome) -> None:
    """Write what was decided."""
    if outcome.versions:
        namespace = transaction.namespace(change.scope)
        if namespace is None:
            namespace = transaction.make_namespace(change.scope, change.at_us)
        for version in outcome.versions:
            apply(transaction, namespace, version)
    if outcome.remembered_seq is not None and isinstance(change, Create) and change.idempotency is not None:
        one, is_new = change.idempotency, outcome.written.is_new
        row = (change.scope.tenant, change.actor, one.key, one.fingerprint, outcome.remembered_seq)
        transaction.run(_REMEMBER, (*row, change.at_us + IDEMPOTENCY_US, is_new))
