"""One version written down: the row, its place in the indexes, and its line in the history. All that reacts to a
change of a memory hangs on `apply`.
"""

from collections.abc import Sequence
from typing import Any

from ragrid.services.memory.changes import Stored, Version
from ragrid.services.memory.model import Memory, searchable
from ragrid.services.memory.sqlite.transaction import Transaction, scope_word

#: What `stored_of` reads, in its order.
STORED_COLUMNS = "position, version, doc, created_us, created_by, expires_us, is_deleted"

_CURRENT = f"SELECT {STORED_COLUMNS} FROM memory WHERE namespace = ? AND id = ?"  # noqa: S608 - our own words
_INSERT = "INSERT INTO memory VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?)"
_UPDATE = """
UPDATE memory SET version = ?, seq = ?, type = ?, user_id = ?, agent_id = ?, session_id = ?, expires_us = ?, doc = ?
WHERE position = ?
"""
_BURY = """
UPDATE memory SET version = ?, seq = ?, type = NULL, user_id = NULL, agent_id = NULL, session_id = NULL,
  expires_us = ?, is_deleted = 1, doc = x''
WHERE position = ?
"""
_EVENT = "INSERT INTO memory_event VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_ERASE = "UPDATE memory_event SET doc = NULL WHERE namespace = ? AND id = ? AND doc IS NOT NULL"


def current_of(transaction: Transaction, namespace: int, memory_id: str) -> Stored | None:
    """Return what is stored under an id, be it deleted or expired."""
    rows = transaction.run(_CURRENT, (namespace, memory_id)).fetchall()
    return stored_of(rows[0]) if rows else None


def apply(transaction: Transaction, namespace: int, version: Version) -> None:
    """Write one version: the row, its place in the indexes, and its line in the history."""
    transaction.seq = version.seq
    if version.memory is None:
        _bury(transaction, namespace, version)
    elif version.op == "create":
        _insert(transaction, namespace, version, version.memory)
    else:
        _update(transaction, namespace, version, version.memory)
    doc = version.doc or None
    transaction.run(
        _EVENT,
        (version.seq, namespace, version.id, version.version, version.op, version.actor, version.at_us, doc),
    )


def stored_of(columns: Sequence[Any]) -> Stored:
    """Return what a row of STORED_COLUMNS holds."""
    position, version, doc, created_us, created_by, expires_us, is_deleted = columns
    return Stored(position, version, doc, created_us, created_by, expires_us, bool(is_deleted))


def _insert(transaction: Transaction, namespace: int, version: Version, memory: Memory) -> None:
    if version.version > 1:
        transaction.run("DELETE FROM memory WHERE namespace = ? AND id = ?", (namespace, version.id))
    kinds = (memory.type, memory.user_id, memory.agent_id, memory.session_id)
    made = (version.created_us, version.created_by, version.expires_us, version.doc)
    transaction.run(_INSERT, (version.position, namespace, version.id, version.version, version.seq, *kinds, *made))
    _index(transaction, namespace, version.position, memory)
    transaction.rows += 1


def _update(transaction: Transaction, namespace: int, version: Version, memory: Memory) -> None:
    kinds = (memory.type, memory.user_id, memory.agent_id, memory.session_id)
    changed = (version.version, version.seq, *kinds, version.expires_us, version.doc, version.position)
    transaction.run(_UPDATE, changed)
    _unindex(transaction, version.position)
    _index(transaction, namespace, version.position, memory)


def _bury(transaction: Transaction, namespace: int, version: Version) -> None:
    row = transaction.run("SELECT is_deleted FROM memory WHERE position = ?", (version.position,)).fetchall()[0]
    if not row[0]:
        _unindex(transaction, version.position)
        transaction.rows -= 1
    transaction.run(_BURY, (version.version, version.seq, version.expires_us, version.position))
    if version.op == "expire":
        transaction.run(_ERASE, (namespace, version.id))


def _index(transaction: Transaction, namespace: int, position: int, memory: Memory) -> None:
    transaction.run(
        "INSERT INTO memory_fts (rowid, scope, content, tags, data) VALUES (?, ?, ?, ?, ?)",
        (position, scope_word(namespace), *searchable(memory)),
    )
    for tag in memory.tags:
        transaction.run("INSERT INTO memory_tag VALUES (?, ?, ?)", (namespace, tag, position))


def _unindex(transaction: Transaction, position: int) -> None:
    transaction.run("DELETE FROM memory_fts WHERE rowid = ?", (position,))
    transaction.run("DELETE FROM memory_tag WHERE position = ?", (position,))
