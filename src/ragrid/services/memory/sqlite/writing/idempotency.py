"""Idempotency keys: what a request led to is remembered for a day, and given again."""

from ragrid.services.memory.changes import Create, is_expired
from ragrid.services.memory.errors import KeyReusedError, ReplayGoneError
from ragrid.services.memory.protocol.memories import IDEMPOTENCY_US, Written, is_replay_of
from ragrid.services.memory.sqlite.transaction import Transaction
from ragrid.services.memory.sqlite.writing.versions import current_of

_REPLAY = """
SELECT i.fingerprint, e.namespace, e.id, e.version, e.doc
FROM idempotency AS i JOIN memory_event AS e ON e.seq = i.seq
WHERE i.tenant = ? AND i.subject = ? AND i.key = ? AND i.expires_us > ?
"""


def replay_of(transaction: Transaction, create: Create) -> Written | None:
    """Return what an idempotency key led to before, or None when it is new."""
    key = create.idempotency.key if create.idempotency is not None else ""
    rows = transaction.run(_REPLAY, (create.scope.tenant, create.actor, key, create.at_us)).fetchall()
    if not rows:
        return None
    fingerprint, namespace, memory_id, version, doc = rows[0]
    if not is_replay_of(create, fingerprint):
        raise KeyReusedError(f"idempotency key {key!r} came before with another request; choose a new key")
    current = current_of(transaction, namespace, memory_id)
    if doc is None or (current is not None and is_expired(current, create.at_us)):
        raise ReplayGoneError(f"the memory that idempotency key {key!r} made has expired; choose a new key")
    return Written(memory_id, version, doc, is_new=True, is_replay=True)


def remember(transaction: Transaction, create: Create, seq: int) -> None:
    """Remember which change the key of `create` led to."""
    if create.idempotency is None:
        return
    one = create.idempotency
    transaction.run(
        "INSERT OR REPLACE INTO idempotency VALUES (?, ?, ?, ?, ?, ?)",
        (create.scope.tenant, create.actor, one.key, one.fingerprint, seq, create.at_us + IDEMPOTENCY_US),
    )
