"""Copies of what another store had, written down."""

from collections.abc import Sequence

from ragrid.services.memory.changes import MemoryCopy, Scope
from ragrid.services.memory.errors import InvalidBodyError
from ragrid.services.memory.exchange.deciding import (
    Verdict,
    decide_memory,
    is_new_message,
    is_new_settings,
    is_new_state,
)
from ragrid.services.memory.exchange.importing import Ledger
from ragrid.services.memory.exchange.lines import Copy, MessageCopy, SettingsCopy, StateCopy
from ragrid.services.memory.namespaces import PutNamespace
from ragrid.services.memory.sqlite.transaction import Transaction, Undo
from ragrid.services.memory.sqlite.writing.ground import SqliteGround
from ragrid.services.memory.sqlite.writing.namespaces import current_namespace, put_namespace
from ragrid.services.memory.sqlite.writing.sessions import insert_messages, make_session, session_of, set_state
from ragrid.services.memory.sqlite.writing.versions import apply

_MESSAGE = "SELECT doc FROM session_message WHERE namespace = ? AND session = ? AND position = ?"
_END = "UPDATE session SET is_live = 1, last_index = ? WHERE number = ? AND namespace = ?"


def take(transaction: Transaction, copies: Sequence[Copy], *, now_us: int, is_atomic: bool) -> tuple[Verdict, ...]:
    """Take over copies; each is decided before anything of it is written. Raises Undo with the verdicts."""
    ledger = Ledger()
    for copy in copies:
        try:
            ledger.took(copy, is_new=_take(transaction, copy, ledger.previous, now_us))
        except InvalidBodyError as error:
            ledger.refused(error)
    if is_atomic and ledger.has_faults:
        raise Undo(ledger.verdicts)
    return ledger.verdicts


def _take(transaction: Transaction, copy: Copy, previous: Copy | None, now_us: int) -> bool:
    match copy:
        case SettingsCopy():
            is_new = is_new_settings(current_namespace(transaction, copy.scope), copy)
            if is_new:
                put_namespace(transaction, PutNamespace(copy.scope, copy.actor, copy.at_us, copy.settings))
            return is_new
        case MemoryCopy():
            versions = decide_memory(SqliteGround(transaction), copy, previous, seq=transaction.seq + 1, now_us=now_us)
            if versions:
                namespace = _namespace(transaction, copy.scope, now_us)
                for version in versions:
                    apply(transaction, namespace, version)
            return bool(versions)
        case MessageCopy():
            return _take_message(transaction, copy, now_us)
        case StateCopy():
            return _take_state(transaction, copy, now_us)


def _take_message(transaction: Transaction, copy: MessageCopy, now_us: int) -> bool:
    number, last_index, _ = session_of(transaction, copy.scope, copy.session_id)
    namespace = transaction.namespace(copy.scope)
    rows = transaction.run(_MESSAGE, (namespace, number, copy.message.index)).fetchall() if number is not None else []
    if not is_new_message(last_index, rows[0][0] if rows else None, copy):
        return False
    namespace = _namespace(transaction, copy.scope, now_us)
    if number is None:
        number = make_session(transaction, namespace, copy.session_id)
    insert_messages(transaction, namespace, number, (copy.message,))
    transaction.run(_END, (copy.message.index, number, namespace))
    return True


def _take_state(transaction: Transaction, copy: StateCopy, now_us: int) -> bool:
    number, _, current = session_of(transaction, copy.scope, copy.session_id)
    if not is_new_state(current, copy):
        return False
    namespace = _namespace(transaction, copy.scope, now_us)
    if number is None:
        number = make_session(transaction, namespace, copy.session_id)
    set_state(transaction, namespace, number, copy.state)
    return True


def _namespace(transaction: Transaction, scope: Scope, now_us: int) -> int:
    return transaction.namespace(scope) or transaction.make_namespace(scope, now_us)
