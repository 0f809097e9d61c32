"""Changes of memories."""

from ragrid.services.memory.changes import Change, Create, decide
from ragrid.services.memory.protocol.memories import Written, written
from ragrid.services.memory.sqlite.transaction import Transaction
from ragrid.services.memory.sqlite.writing.idempotency import remember, replay_of
from ragrid.services.memory.sqlite.writing.versions import apply, current_of


def carry_out(transaction: Transaction, change: Change) -> Written:
    """Carry out one change, or raise its refusal before anything is written.

    No savepoint guards it: each would make the full-text index write out a segment (118 instead of 74 µs of
    processor time a change, in batches of 32).
    """
    if isinstance(change, Create) and change.idempotency is not None:
        replay = replay_of(transaction, change)
        if replay is not None:
            return replay
    namespace = transaction.namespace(change.scope)
    # The id of a Create is new by construction, and the unique index watches over that.
    is_new = isinstance(change, Create)
    current = None if namespace is None or is_new else current_of(transaction, namespace, change.id)
    versions = decide(current, change, seq=transaction.seq + 1)
    if namespace is None:
        namespace = transaction.make_namespace(change.scope, change.at_us)
    for version in versions:
        apply(transaction, namespace, version)
    if isinstance(change, Create) and change.idempotency is not None:
        remember(transaction, change, versions[-1].seq)
    return written(versions)
