"""Changes of sessions, inside a writing transaction. Every statement names the tenant."""

from collections.abc import Sequence

import msgspec

from ragrid.services.memory.changes import Scope
from ragrid.services.memory.errors import KeyReusedError, NoSessionError, ReplayGoneError
from ragrid.services.memory.messages import Append, Appended, StoredMessage, decide_append
from ragrid.services.memory.postgresql.transaction import Transaction
from ragrid.services.memory.protocol.memories import IDEMPOTENCY_US
from ragrid.services.memory.working_state import (
    NO_STATE,
    PutState,
    ReadState,
    StoredState,
    decide_state,
    is_state_visible,
    rendered_state,
    slid,
)

#: Tenant, namespace and id.
Key = tuple[str, str, str]

STATE_COLUMNS = "state_version, state, state_ttl_s, state_expires_us, state_updated_us, state_updated_by"

_SESSION = f"""
SELECT last_index, {STATE_COLUMNS} FROM session WHERE tenant = $1 AND namespace = $2 AND id = $3
"""  # noqa: S608 - our own words
_SET = f"""
WITH home AS (INSERT INTO namespace (tenant, name, created_us) VALUES ($1, $2, $11) ON CONFLICT DO NOTHING)
INSERT INTO session (tenant, namespace, id, is_live, last_index, {STATE_COLUMNS})
VALUES ($1, $2, $3, true, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (tenant, namespace, id) DO UPDATE SET is_live = true, last_index = excluded.last_index,
  state_version = excluded.state_version, state = excluded.state, state_ttl_s = excluded.state_ttl_s,
  state_expires_us = excluded.state_expires_us, state_updated_us = excluded.state_updated_us,
  state_updated_by = excluded.state_updated_by
"""  # noqa: S608 - our own words
_ADD = """
INSERT INTO session_message (tenant, namespace, session, position, expires_us, doc)
SELECT $1, $2, $3, * FROM unnest($4::bigint[], $5::bigint[], $6::bytea[])
"""
_REPLAY = """
SELECT fingerprint, namespace, session, first_index, last_index FROM session_append
WHERE tenant = $1 AND subject = $2 AND key = $3 AND expires_us > $4
"""
_REPLAYED = """
SELECT doc FROM session_message
WHERE tenant = $1 AND namespace = $2 AND session = $3 AND position BETWEEN $4 AND $5
  AND (expires_us IS NULL OR expires_us > $6)
ORDER BY position
"""
_REMEMBER = """
INSERT INTO session_append (tenant, subject, key, fingerprint, namespace, session, first_index, last_index, expires_us)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (tenant, subject, key) DO UPDATE SET fingerprint = excluded.fingerprint, namespace = excluded.namespace,
  session = excluded.session, first_index = excluded.first_index, last_index = excluded.last_index,
  expires_us = excluded.expires_us
"""
_EXPIRY = "UPDATE tenant SET next_session_expiry_us = least(next_session_expiry_us, $2) WHERE tenant = $1"
_END = """
WITH told AS (DELETE FROM session_message WHERE tenant = $1 AND namespace = $2 AND session = $3)
UPDATE session SET is_live = false, state = NULL, state_ttl_s = NULL, state_expires_us = NULL
WHERE tenant = $1 AND namespace = $2 AND id = $3 AND is_live RETURNING id
"""
_SWEEP_MESSAGES = """
DELETE FROM session_message WHERE tenant = $1 AND (namespace, session, position) IN (
  SELECT namespace, session, position FROM session_message WHERE tenant = $1 AND expires_us <= $2 LIMIT $3
) RETURNING position
"""
_SWEEP_STATES = """
UPDATE session SET state = NULL, state_ttl_s = NULL, state_expires_us = NULL
WHERE tenant = $1 AND (namespace, id) IN (
  SELECT namespace, id FROM session WHERE tenant = $1 AND state_expires_us <= $2 LIMIT $3
)
"""
_SWEEP_KEYS = """
DELETE FROM session_append WHERE tenant = $1 AND (subject, key) IN (
  SELECT subject, key FROM session_append WHERE tenant = $1 AND expires_us <= $2 LIMIT $3
)
"""
_NEXT_EXPIRY = """
UPDATE tenant SET next_session_expiry_us = least(
  (SELECT min(expires_us) FROM session_message WHERE tenant = $1 AND expires_us IS NOT NULL),
  (SELECT min(state_expires_us) FROM session WHERE tenant = $1 AND state_expires_us IS NOT NULL),
  (SELECT min(expires_us) FROM session_append WHERE tenant = $1)
) WHERE tenant = $1
"""


async def append_messages(transaction: Transaction, append: Append) -> Appended:
    """Add messages to a session, or raise the refusal before anything is written."""
    replay = await _replay_of(transaction, append)
    if replay is not None:
        return replay
    key = (append.scope.tenant, append.scope.namespace, append.session_id)
    last_index, state = await session_of(transaction, key)
    messages = decide_append(last_index, append)
    await add_messages(transaction, key, messages)
    if is_state_visible(state, append.at_us):
        state = slid(state, append.at_us)
    last_index = messages[-1].index
    await set_session(transaction, key, last_index, state, at_us=append.at_us)
    await _remember(transaction, append, messages)
    return Appended(tuple(one.doc for one in messages), last_index)


async def put_state(transaction: Transaction, put: PutState) -> ReadState:
    """Replace the working state of a session, or raise the refusal before anything is written."""
    key = (put.scope.tenant, put.scope.namespace, put.session_id)
    last_index, before = await session_of(transaction, key)
    state = decide_state(before, put)
    await set_session(transaction, key, last_index, state, at_us=put.at_us)
    doc = rendered_state(state, put.scope, put.session_id)
    return ReadState(state.version, doc, is_new=not is_state_visible(before, put.at_us))


async def delete_session(transaction: Transaction, scope: Scope, session_id: str) -> None:
    """Erase what a session holds; its counters stay. Raises NoSessionError."""
    if not await transaction.connection.fetch(_END, scope.tenant, scope.namespace, session_id):
        raise NoSessionError(f"no session {session_id!r} in namespace {scope.namespace!r}")


async def sweep_sessions(transaction: Transaction, now_us: int, limit: int) -> int:
    """Erase up to `limit` expired messages, states and idempotency keys each of one tenant."""
    tenant = transaction.workspace.tenant
    swept = await transaction.connection.fetch(_SWEEP_MESSAGES, tenant, now_us, limit)
    await transaction.connection.execute(_SWEEP_STATES, tenant, now_us, limit)
    await transaction.connection.execute(_SWEEP_KEYS, tenant, now_us, limit)
    await transaction.connection.execute(_NEXT_EXPIRY, tenant)
    return len(swept)


async def add_messages(transaction: Transaction, key: Key, messages: Sequence[StoredMessage]) -> None:
    """Write messages of a session."""
    columns = ([one.index for one in messages], [one.expires_us for one in messages], [one.doc for one in messages])
    await transaction.connection.execute(_ADD, *key, *columns)
    await _note_expiry(transaction, *(one.expires_us for one in messages))


async def set_session(transaction: Transaction, key: Key, last_index: int, state: StoredState, *, at_us: int) -> None:
    """Write the counters and the state of a session, which lives from now on if it did not."""
    await transaction.connection.execute(_SET, *key, last_index, *msgspec.structs.astuple(state), at_us)
    await _note_expiry(transaction, state.expires_us)


async def session_of(transaction: Transaction, key: Key) -> tuple[int, StoredState]:
    """Return the last index and the state; nothing of either when nothing was ever under that id."""
    row = await transaction.connection.fetchrow(_SESSION, *key)
    if row is None:
        return 0, NO_STATE
    last_index, *state = row
    return last_index, StoredState(*state)


async def _note_expiry(transaction: Transaction, *expiries_us: int | None) -> None:
    known = [one for one in expiries_us if one is not None]
    if known:
        await transaction.connection.execute(_EXPIRY, transaction.workspace.tenant, min(known))


async def _replay_of(transaction: Transaction, append: Append) -> Appended | None:
    if append.idempotency is None:
        return None
    name, tenant = append.idempotency.key, append.scope.tenant
    row = await transaction.connection.fetchrow(_REPLAY, tenant, append.actor, name, append.at_us)
    if row is None:
        return None
    fingerprint, namespace, session, first_index, last_index = row
    if fingerprint != append.idempotency.fingerprint:
        raise KeyReusedError(f"idempotency key {name!r} came before with another request; choose a new key")
    span = (namespace, session, first_index, last_index, append.at_us)
    docs = await transaction.connection.fetch(_REPLAYED, tenant, *span)
    if len(docs) < last_index - first_index + 1:
        raise ReplayGoneError(f"the messages that idempotency key {name!r} added are gone; choose a new key")
    return Appended(tuple(doc for (doc,) in docs), last_index, is_replay=True)


async def _remember(transaction: Transaction, append: Append, messages: tuple[StoredMessage, ...]) -> None:
    if append.idempotency is None:
        return
    one, expires_us = append.idempotency, append.at_us + IDEMPOTENCY_US
    span = (append.scope.namespace, append.session_id, messages[0].index, messages[-1].index)
    caller = (append.scope.tenant, append.actor, one.key, one.fingerprint)
    await transaction.connection.execute(_REMEMBER, *caller, *span, expires_us)
    await _note_expiry(transaction, expires_us)
