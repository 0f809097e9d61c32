"""Changes of sessions. Every statement names the namespace, which belongs to one tenant."""

from ragrid.services.memory.changes import Scope
from ragrid.services.memory.errors import KeyReusedError, NoSessionError, ReplayGoneError
from ragrid.services.memory.messages import Append, Appended, StoredMessage, decide_append
from ragrid.services.memory.protocol.memories import IDEMPOTENCY_US
from ragrid.services.memory.sqlite.transaction import Transaction
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

#: What `_StoredSession` is made of, in order.
_COLUMNS = "number, last_index, state_version, state, state_ttl_s, state_expires_us, state_updated_us, state_updated_by"
_SESSION = f"SELECT {_COLUMNS} FROM session WHERE namespace = ? AND id = ?"  # noqa: S608 - our own words
_SET_STATE = """
UPDATE session SET is_live = 1, state_version = ?, state = ?, state_ttl_s = ?, state_expires_us = ?,
  state_updated_us = ?, state_updated_by = ?
WHERE number = ? AND namespace = ?
"""
_NO_STATE = "state = NULL, state_ttl_s = NULL, state_expires_us = NULL"
_REPLAY = """
SELECT fingerprint, namespace, session, first_index, last_index FROM session_append
WHERE tenant = ? AND subject = ? AND key = ? AND expires_us > ?
"""
_REPLAYED = """
SELECT doc FROM session_message
WHERE namespace = ? AND session = ? AND position BETWEEN ? AND ? AND (expires_us IS NULL OR expires_us > ?)
ORDER BY position
"""


def append_messages(transaction: Transaction, append: Append) -> Appended:
    """Add messages to a session, or raise the refusal before anything is written."""
    replay = _replay_of(transaction, append)
    if replay is not None:
        return replay
    number, last_index, state = session_of(transaction, append.scope, append.session_id)
    messages = decide_append(last_index, append)
    namespace = transaction.namespace(append.scope) or transaction.make_namespace(append.scope, append.at_us)
    if number is None:
        number = make_session(transaction, namespace, append.session_id)
    insert_messages(transaction, namespace, number, messages)
    end = "UPDATE session SET is_live = 1, last_index = ? WHERE number = ? AND namespace = ?"
    transaction.run(end, (messages[-1].index, number, namespace))
    if state.ttl_s is not None and is_state_visible(state, append.at_us):
        life = "UPDATE session SET state_expires_us = ? WHERE number = ? AND namespace = ?"
        transaction.run(life, (slid(state, append.at_us).expires_us, number, namespace))
    _remember(transaction, append, (namespace, number), messages)
    return Appended(tuple(one.doc for one in messages), messages[-1].index)


def put_state(transaction: Transaction, put: PutState) -> ReadState:
    """Replace the working state of a session, or raise the refusal before anything is written."""
    number, _, before = session_of(transaction, put.scope, put.session_id)
    state = decide_state(before, put)
    namespace = transaction.namespace(put.scope) or transaction.make_namespace(put.scope, put.at_us)
    if number is None:
        number = make_session(transaction, namespace, put.session_id)
    set_state(transaction, namespace, number, state)
    doc = rendered_state(state, put.scope, put.session_id)
    return ReadState(state.version, doc, is_new=not is_state_visible(before, put.at_us))


def delete_session(transaction: Transaction, scope: Scope, session_id: str) -> None:
    """Erase what a session holds; its counters stay. Raises NoSessionError."""
    namespace = transaction.namespace(scope)
    live = "SELECT number FROM session WHERE namespace = ? AND id = ? AND is_live = 1"
    rows = [] if namespace is None else transaction.run(live, (namespace, session_id)).fetchall()
    if not rows:
        raise NoSessionError(f"no session {session_id!r} in namespace {scope.namespace!r}")
    (number,) = rows[0]
    transaction.run("DELETE FROM session_message WHERE session = ? AND namespace = ?", (number, namespace))
    erased = f"UPDATE session SET is_live = 0, {_NO_STATE} WHERE number = ? AND namespace = ?"  # noqa: S608 - our own words
    transaction.run(erased, (number, namespace))


def sweep_sessions(transaction: Transaction, now_us: int, limit: int) -> int:
    """Erase up to `limit` expired messages, states and idempotency keys each."""
    expired = "SELECT rowid FROM session_message WHERE expires_us <= ? LIMIT ?"
    messages = transaction.run(expired, (now_us, limit)).fetchall()
    for row in messages:
        transaction.run("DELETE FROM session_message WHERE rowid = ?", row)
    states = "SELECT number FROM session WHERE state_expires_us <= ? LIMIT ?"
    for row in transaction.run(states, (now_us, limit)).fetchall():
        transaction.run(f"UPDATE session SET {_NO_STATE} WHERE number = ?", row)  # noqa: S608 - our own words
    keys = "SELECT tenant, subject, key FROM session_append WHERE expires_us <= ? LIMIT ?"
    for row in transaction.run(keys, (now_us, limit)).fetchall():
        transaction.run("DELETE FROM session_append WHERE tenant = ? AND subject = ? AND key = ?", row)
    return len(messages)


def session_of(transaction: Transaction, scope: Scope, session_id: str) -> tuple[int | None, int, StoredState]:
    """Return number, last index and state; no number when nothing was ever under that id."""
    namespace = transaction.namespace(scope)
    rows = [] if namespace is None else transaction.run(_SESSION, (namespace, session_id)).fetchall()
    if not rows:
        return None, 0, NO_STATE
    number, last_index, *state = rows[0]
    return number, last_index, StoredState(*state)


def set_state(transaction: Transaction, namespace: int, number: int, state: StoredState) -> None:
    """Let this be the state of a session."""
    life = (state.ttl_s, state.expires_us, state.updated_us, state.updated_by)
    transaction.run(_SET_STATE, (state.version, state.data, *life, number, namespace))


def make_session(transaction: Transaction, namespace: int, session_id: str) -> int:
    """Add a session and return its number."""
    rows = transaction.run(
        "INSERT INTO session (namespace, id, is_live, last_index, state_version, state_updated_us, state_updated_by)"
        " VALUES (?, ?, 1, 0, 0, 0, '') RETURNING number",
        (namespace, session_id),
    ).fetchall()
    number: int = rows[0][0]
    return number


def insert_messages(transaction: Transaction, namespace: int, number: int, messages: tuple[StoredMessage, ...]) -> None:
    """Add messages to a session; its last index is not moved."""
    for one in messages:
        transaction.run(
            "INSERT INTO session_message VALUES (?, ?, ?, ?, ?)",
            (namespace, number, one.index, one.expires_us, one.doc),
        )


def _replay_of(transaction: Transaction, append: Append) -> Appended | None:
    if append.idempotency is None:
        return None
    key = append.idempotency.key
    rows = transaction.run(_REPLAY, (append.scope.tenant, append.actor, key, append.at_us)).fetchall()
    if not rows:
        return None
    fingerprint, namespace, session, first_index, last_index = rows[0]
    if fingerprint != append.idempotency.fingerprint:
        raise KeyReusedError(f"idempotency key {key!r} came before with another request; choose a new key")
    span = (namespace, session, first_index, last_index, append.at_us)
    docs = transaction.run(_REPLAYED, span).fetchall()
    if len(docs) < last_index - first_index + 1:
        raise ReplayGoneError(f"the messages that idempotency key {key!r} added are gone; choose a new key")
    return Appended(tuple(doc for (doc,) in docs), last_index, is_replay=True)


def _remember(
    transaction: Transaction, append: Append, session: tuple[int, int], messages: tuple[StoredMessage, ...]
) -> None:
    if append.idempotency is None:
        return
    one = append.idempotency
    span = (*session, messages[0].index, messages[-1].index)
    transaction.run(
        "INSERT OR REPLACE INTO session_append VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (append.scope.tenant, append.actor, one.key, one.fingerprint, *span, append.at_us + IDEMPOTENCY_US),
    )
