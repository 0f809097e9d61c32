"""One version written down: the row, its place in the indexes, and its line in the history. All that reacts to a
change of a memory hangs on `apply`.
"""

from collections.abc import Sequence
from typing import Any

from ragrid.services.memory.changes import Stored, Version
from ragrid.services.memory.model import Memory, searchable
from ragrid.services.memory.sqlite.index_words import scope_words
from ragrid.services.memory.sqlite.transaction import Transaction
from ragrid.services.memory.sqlite.writing.embeddings import note_version

#: What `stored_of` reads, in its order.
STORED_COLUMNS = """
position, version, doc, created_us, created_by, expires_us, is_deleted, is_erased, superseded_by
"""

_CURRENT = f"SELECT {STORED_COLUMNS} FROM memory WHERE namespace = ? AND id = ?"  # noqa: S608 - our own words
_INSERT = """
INSERT INTO memory (position, namespace, id, version, seq, created_us, created_by,
  type, user_id, agent_id, session_id, superseded_by, expires_us, doc, is_deleted, is_erased)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0)
"""
_UPDATE = """
UPDATE memory SET version = ?, seq = ?,
  type = ?, user_id = ?, agent_id = ?, session_id = ?, superseded_by = ?, expires_us = ?, doc = ?
WHERE position = ?
"""
_BURY = """
UPDATE memory SET version = ?, seq = ?, expires_us = ?, is_erased = ?, is_deleted = 1,
  type = NULL, user_id = NULL, agent_id = NULL, session_id = NULL, superseded_by = NULL, doc = x''
WHERE position = ?
"""
_EVENT = "INSERT INTO memory_event VALUES (?, ?, ?, ?, ?, ?, ?, NULL)"
#: The contents of a current version stand in `memory` alone: here they move into the history.
_KEEP = """
UPDATE memory_event SET doc = (SELECT doc FROM memory WHERE position = ?1)
WHERE seq = (SELECT seq FROM memory WHERE position = ?1) AND doc IS NULL
"""
_ERASE = "UPDATE memory_event SET doc = NULL WHERE namespace = ? AND id = ? AND doc IS NOT NULL"


def current_of(transaction: Transaction, namespace: int, memory_id: str) -> Stored | None:
    """Return what is stored under an id, be it deleted or expired."""
    rows = transaction.run(_CURRENT, (namespace, memory_id)).fetchall()
    return stored_of(rows[0]) if rows else None


def apply(transaction: Transaction, namespace: int, version: Version) -> None:
    """Write one version: the row, its place in the indexes, and its line in the history."""
    transaction.seq = version.seq
    transaction.changed.add(namespace)
    if version.memory is None:
        _bury(transaction, namespace, version)
    elif version.is_made:
        _insert(transaction, namespace, version, version.memory)
    else:
        _update(transaction, namespace, version, version.memory)
    transaction.count(namespace, version.rows_delta, version.size_delta)
    note_version(transaction, namespace, version)
    transaction.run(
        _EVENT, (version.seq, namespace, version.id, version.version, version.op, version.actor, version.at_us)
    )


def stored_of(columns: Sequence[Any]) -> Stored:
    """Return what a row of STORED_COLUMNS holds."""
    position, version, doc, created_us, created_by, expires_us, is_deleted, is_erased, superseded_by = columns
    life = (created_us, created_by, expires_us, bool(is_deleted), bool(is_erased), superseded_by)
    return Stored(position, version, doc, *life)


def _insert(transaction: Transaction, namespace: int, version: Version, memory: Memory) -> None:
    if version.version > 1:
        transaction.run("DELETE FROM memory WHERE namespace = ? AND id = ?", (namespace, version.id))
    place = (version.position, namespace, version.id, version.version, version.seq)
    transaction.run(_INSERT, (*place, version.created_us, version.created_by, *_contents(version, memory)))
    _index(transaction, namespace, version, memory)


def _update(transaction: Transaction, namespace: int, version: Version, memory: Memory) -> None:
    transaction.run(_KEEP, (version.position,))
    transaction.run(_UPDATE, (version.version, version.seq, *_contents(version, memory), version.position))
    _unindex(transaction, version.position)
    _index(transaction, namespace, version, memory)


def _contents(version: Version, memory: Memory) -> tuple[Any, ...]:
    kinds = (memory.type, memory.user_id, memory.agent_id, memory.session_id, memory.superseded_by)
    return (*kinds, version.expires_us, version.doc)


def _bury(transaction: Transaction, namespace: int, version: Version) -> None:
    if version.rows_delta:  # it was alive
        _unindex(transaction, version.position)
        if not version.is_erasing:
            transaction.run(_KEEP, (version.position,))
    numbers = (version.version, version.seq, version.expires_us, version.is_erasing)
    transaction.run(_BURY, (*numbers, version.position))
    if version.is_erasing:
        transaction.run(_ERASE, (namespace, version.id))


def _index(transaction: Transaction, namespace: int, version: Version, memory: Memory) -> None:
    transaction.run(
        "INSERT INTO memory_fts (rowid, scope, content, tags, data) VALUES (?, ?, ?, ?, ?)",
        (version.position, scope_words(namespace, version.fingerprint), *searchable(memory)),
    )
    for tag in memory.tags:
        transaction.run("INSERT INTO memory_tag VALUES (?, ?, ?)", (namespace, tag, version.position))


def _unindex(transaction: Transaction, position: int) -> None:
    transaction.run("DELETE FROM memory_fts WHERE rowid = ?", (position,))
    transaction.run("DELETE FROM memory_tag WHERE position = ?", (position,))
