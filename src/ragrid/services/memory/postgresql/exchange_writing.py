"""Copies of what another store had, inside a writing transaction."""

from collections.abc import Sequence

from ragrid.services.memory.changes import MemoryCopy
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
from ragrid.services.memory.postgresql.namespaces import current_namespace, put_namespace
from ragrid.services.memory.postgresql.session_writing import add_messages, session_of, set_session
from ragrid.services.memory.postgresql.transaction import Transaction
from ragrid.services.memory.postgresql.workspace import NotLoadedError

_MESSAGE = "SELECT doc FROM session_message WHERE tenant = $1 AND namespace = $2 AND session = $3 AND position = $4"


async def take(
    transaction: Transaction, copies: Sequence[Copy], *, now_us: int, is_atomic: bool
) -> tuple[Verdict, ...]:
    """Take over copies; each is decided before anything of it is written. With faults, an atomic one leaves nothing."""
    if is_atomic:
        await transaction.set_savepoint()
    ledger = Ledger()
    for copy in copies:
        try:
            ledger.took(copy, is_new=await _take(transaction, copy, ledger.previous, now_us))
        except InvalidBodyError as error:
            ledger.refused(error)
    if is_atomic and ledger.has_faults:
        await transaction.return_to_savepoint()
    return ledger.verdicts


async def _take(transaction: Transaction, copy: Copy, previous: Copy | None, now_us: int) -> bool:
    match copy:
        case SettingsCopy():
            is_new = is_new_settings(await current_namespace(transaction, copy.scope), copy)
            if is_new:
                await put_namespace(transaction, PutNamespace(copy.scope, copy.actor, copy.at_us, copy.settings))
            return is_new
        case MemoryCopy():
            return await _take_memory(transaction, copy, previous, now_us)
        case MessageCopy():
            return await _take_message(transaction, copy, now_us)
        case StateCopy():
            return await _take_state(transaction, copy, now_us)


async def _take_memory(transaction: Transaction, copy: MemoryCopy, previous: Copy | None, now_us: int) -> bool:
    workspace = transaction.workspace
    while True:
        try:
            versions = decide_memory(workspace, copy, previous, seq=workspace.seq + 1, now_us=now_us)
        except NotLoadedError as error:
            await transaction.load(error.need)
        else:
            workspace.apply(copy.scope.namespace, versions)
            return bool(versions)


async def _take_message(transaction: Transaction, copy: MessageCopy, now_us: int) -> bool:
    key = (copy.scope.tenant, copy.scope.namespace, copy.session_id)
    last_index, state = await session_of(transaction, key)
    doc: bytes | None = await transaction.connection.fetchval(_MESSAGE, *key, copy.message.index)
    if not is_new_message(last_index, doc, copy):
        return False
    await add_messages(transaction, key, (copy.message,))
    await set_session(transaction, key, copy.message.index, state, at_us=now_us)
    return True


async def _take_state(transaction: Transaction, copy: StateCopy, now_us: int) -> bool:
    key = (copy.scope.tenant, copy.scope.namespace, copy.session_id)
    last_index, current = await session_of(transaction, key)
    if not is_new_state(current, copy):
        return False
    await set_session(transaction, key, last_index, copy.state, at_us=now_us)
    return True
