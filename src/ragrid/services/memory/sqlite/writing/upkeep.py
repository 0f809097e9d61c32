"""What time does: expired memories end, and old idempotency keys are forgotten."""

from typing import NamedTuple

from ragrid.services.memory.sqlite.transaction import Transaction
from ragrid.services.memory.sqlite.writing.namespaces import erase_gone
from ragrid.services.memory.sqlite.writing.versions import STORED_COLUMNS, apply, stored_of
from ragrid.services.memory.versions import expired

_EXPIRED = f"""
SELECT namespace, id, {STORED_COLUMNS} FROM memory
WHERE expires_us <= ? AND namespace NOT IN (SELECT id FROM namespace WHERE is_gone = 1) ORDER BY expires_us LIMIT ?
"""  # noqa: S608 - our own words


class Swept(NamedTuple):
    """Memories that were ended, and rows of deleted namespaces that were erased."""

    ended: int
    erased: int


def sweep(transaction: Transaction, now_us: int, limit: int) -> Swept:
    """End up to `limit` memories whose time is over; forget as many old keys, and rows of a deleted namespace."""
    ended = transaction.run(_EXPIRED, (now_us, limit)).fetchall()
    for namespace, memory_id, *columns in ended:
        current = stored_of(columns)
        apply(transaction, namespace, expired(current, memory_id, seq=transaction.seq + 1, at_us=now_us))
    keys = "SELECT tenant, subject, key FROM idempotency WHERE expires_us <= ? LIMIT ?"
    for row in transaction.run(keys, (now_us, limit)).fetchall():
        transaction.run("DELETE FROM idempotency WHERE tenant = ? AND subject = ? AND key = ?", row)
    return Swept(len(ended), erase_gone(transaction, limit))
