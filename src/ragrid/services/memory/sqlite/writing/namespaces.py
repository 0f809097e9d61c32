"""Settings and ends of namespaces. A deleted one is out of sight at once; its contents are erased piece by piece."""

import itertools

import msgspec

from ragrid.services.memory.changes import Condition, Scope
from ragrid.services.memory.embedding.sources import turn_of
from ragrid.services.memory.errors import NoNamespaceError
from ragrid.services.memory.namespaces import Namespace, PutNamespace, check_version
from ragrid.services.memory.sqlite.queries import namespace_of, namespace_statement
from ragrid.services.memory.sqlite.transaction import Transaction
from ragrid.services.memory.sqlite.writing.embeddings import follow_settings

_PUT = "UPDATE namespace SET settings = ?, version = ?, updated_us = ?, updated_by = ? WHERE id = ?"
#: A name that no namespace can have.
_DROP = "UPDATE namespace SET is_gone = 1, name = '!' || id WHERE id = ?"
_GONE = "SELECT id FROM namespace WHERE is_gone = 1 LIMIT 1"
_ERASED = "UPDATE namespace SET is_gone = 2, settings = NULL WHERE id = ?"
_POSITIONS = "SELECT position FROM memory WHERE namespace = ? LIMIT ?"
_OF_POSITION = (
    "DELETE FROM memory_fts WHERE rowid = ?",
    "DELETE FROM memory_tag WHERE position = ?",
    "DELETE FROM memory_vector WHERE position = ?",
    "DELETE FROM embedding_outbox WHERE position = ?",
    "DELETE FROM memory WHERE position = ?",
)
#: Each erases up to so many rows of a namespace; in this order, because sessions are named by their messages.
_OF_NAMESPACE = (
    "DELETE FROM memory_event WHERE seq IN (SELECT seq FROM memory_event WHERE namespace = ? LIMIT ?)",
    """
    DELETE FROM session_message WHERE rowid IN (
      SELECT m.rowid FROM session AS s JOIN session_message AS m ON m.session = s.number WHERE s.namespace = ? LIMIT ?
    )
    """,
    "DELETE FROM session WHERE number IN (SELECT number FROM session WHERE namespace = ? LIMIT ?)",
)


def put_namespace(transaction: Transaction, put: PutNamespace) -> Namespace:
    """Make a namespace or replace its settings, or raise the refusal before anything is written."""
    current = current_namespace(transaction, put.scope)
    check_version(current, put.condition)
    number = transaction.namespace(put.scope)
    if number is None:
        number = transaction.make_namespace(put.scope, put.at_us)
    version = 1 if current is None else current.version + 1
    turn = turn_of(transaction.room(number).settings.embedder, put.settings.embedder)
    transaction.put_settings(number, put.settings)
    if turn is not None:
        follow_settings(transaction, number, turn, put.at_us)
    transaction.run(_PUT, (msgspec.json.encode(put.settings), version, put.at_us, put.actor, number))
    created_us = put.at_us if current is None else current.created_us
    room = transaction.room(number)
    return Namespace(put.scope.namespace, number, room, version, created_us, put.at_us, put.actor)


def delete_namespace(transaction: Transaction, scope: Scope, condition: Condition) -> None:
    """Take a namespace out of sight, or raise the refusal before anything is written."""
    current = current_namespace(transaction, scope)
    number = transaction.namespace(scope)
    if current is None or number is None:
        raise NoNamespaceError(f"no namespace {scope.namespace!r}")
    check_version(current, condition)
    transaction.drop_namespace(scope, number)
    transaction.run("DELETE FROM session_append WHERE namespace = ?", (number,))
    transaction.run(_DROP, (number,))


def current_namespace(transaction: Transaction, scope: Scope) -> Namespace | None:
    """Return a namespace as it stands."""
    rows = transaction.run(*namespace_statement(scope)).fetchall()
    return namespace_of(rows[0]) if rows else None


def erase_gone(transaction: Transaction, limit: int) -> int:
    """Erase up to `limit` rows of a deleted namespace, and return how many; the last of it goes without any left."""
    for (number,) in transaction.run(_GONE).fetchall():
        positions = transaction.run(_POSITIONS, (number, limit)).fetchall()
        for position, sql in itertools.product(positions, _OF_POSITION):
            transaction.run(sql, position)
        erased = len(positions)
        for sql in _OF_NAMESPACE:
            if erased == 0:
                erased = len(transaction.run(f"{sql} RETURNING 1", (number, limit)).fetchall())
        if erased < limit:
            # Of this kind nothing is left; the others, or the next namespace, have their turn at once.
            if erased == 0:
                transaction.run(_ERASED, (number,))
            return limit
        return erased
    return 0
