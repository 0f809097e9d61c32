"""Sessions, in dictionaries."""

from dataclasses import dataclass, field

from ragrid.services.memory.changes import Scope
from ragrid.services.memory.errors import KeyReusedError, NoSessionError, ReplayGoneError
from ragrid.services.memory.inmemory.state import State
from ragrid.services.memory.messages import Append, Appended, MessagePage, StoredMessage, decide_append
from ragrid.services.memory.protocol.memories import IDEMPOTENCY_US
from ragrid.services.memory.protocol.sessions import Order, SessionSummary
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


@dataclass
class Session:
    """What is kept under one session id, also while there is no such session."""

    is_live: bool = False
    last_index: int = 0
    messages: list[StoredMessage] = field(default_factory=list)
    state: StoredState = NO_STATE


@dataclass(frozen=True)
class _Request:
    fingerprint: bytes
    session: Session
    first_index: int
    last_index: int
    expires_us: int


class InMemorySessions(State):
    """See protocol/sessions.py."""

    def __init__(self) -> None:
        super().__init__()
        self._sessions: dict[tuple[Scope, str], Session] = {}
        self._appends: dict[tuple[str, str, str], _Request] = {}

    def drop_namespace(self, scope: Scope) -> None:
        """See State."""
        super().drop_namespace(scope)
        gone = {id(one) for key, one in self._sessions.items() if key[0] == scope}
        self._appends = {name: one for name, one in self._appends.items() if id(one.session) not in gone}
        self._sessions = {key: one for key, one in self._sessions.items() if key[0] != scope}

    async def append(self, append: Append) -> Appended:
        """See Sessions."""
        replay = self._replayed(append)
        if replay is not None:
            return replay
        session = self._sessions.get((append.scope, append.session_id), Session())
        messages = decide_append(session.last_index, append)
        self.make_namespace(append.scope, append.at_us)
        self._sessions[append.scope, append.session_id] = session
        session.is_live = True
        session.last_index = messages[-1].index
        session.messages += messages
        if is_state_visible(session.state, append.at_us):
            session.state = slid(session.state, append.at_us)
        if append.idempotency is not None:
            key = (append.scope.tenant, append.actor, append.idempotency.key)
            expires_us = append.at_us + IDEMPOTENCY_US
            span = (messages[0].index, messages[-1].index)
            self._appends[key] = _Request(append.idempotency.fingerprint, session, *span, expires_us)
        return Appended(tuple(one.doc for one in messages), messages[-1].index)

    async def messages(
        self, scope: Scope, session_id: str, *, now_us: int, limit: int, order: Order, beyond: int | None = None
    ) -> MessagePage | None:
        """See Sessions."""
        session = self._sessions.get((scope, session_id))
        if session is None or not session.is_live:
            return None
        seen = [one for one in session.messages if _is_visible(one, now_us)]
        if order == "newest":
            seen.reverse()
        if beyond is not None:
            seen = [one for one in seen if (one.index < beyond if order == "newest" else one.index > beyond)]
        more = seen[limit - 1].index if len(seen) > limit else None
        return MessagePage(tuple(one.doc for one in seen[:limit]), more)

    async def put_state(self, put: PutState) -> ReadState:
        """See Sessions."""
        session = self._sessions.get((put.scope, put.session_id), Session())
        is_new = not is_state_visible(session.state, put.at_us)
        session.state = decide_state(session.state, put)
        session.is_live = True
        self.make_namespace(put.scope, put.at_us)
        self._sessions[put.scope, put.session_id] = session
        doc = rendered_state(session.state, put.scope, put.session_id)
        return ReadState(session.state.version, doc, is_new)

    async def state(self, scope: Scope, session_id: str, *, now_us: int) -> ReadState | None:
        """See Sessions."""
        session = self._sessions.get((scope, session_id))
        if session is None or not is_state_visible(session.state, now_us):
            return None
        return ReadState(session.state.version, rendered_state(session.state, scope, session_id))

    async def sessions(
        self, scope: Scope, *, now_us: int, limit: int, after: str | None = None
    ) -> tuple[SessionSummary, ...]:
        """See Sessions."""
        mine = sorted(
            ((key[1], one) for key, one in self._sessions.items() if key[0] == scope and one.is_live),
            key=lambda item: item[0],
        )
        return tuple(
            SessionSummary(
                session_id, one.last_index, one.state.version if is_state_visible(one.state, now_us) else None
            )
            for session_id, one in mine
            if after is None or session_id > after
        )[:limit]

    async def delete_session(self, scope: Scope, session_id: str) -> None:
        """See Sessions."""
        session = self._sessions.get((scope, session_id))
        if session is None or not session.is_live:
            raise NoSessionError(f"no session {session_id!r} in namespace {scope.namespace!r}")
        session.is_live = False
        session.messages = []
        session.state = StoredState(session.state.version)

    async def sweep_sessions(self, *, now_us: int, limit: int) -> int:
        """See Sessions."""
        swept = 0
        for session in self._sessions.values():
            kept = [one for one in session.messages if _is_visible(one, now_us)]
            swept += len(session.messages) - len(kept)
            session.messages = kept
            if not is_state_visible(session.state, now_us):
                session.state = StoredState(session.state.version)
        self._appends = {name: one for name, one in self._appends.items() if one.expires_us > now_us}
        return min(swept, limit)

    def _replayed(self, append: Append) -> Appended | None:
        if append.idempotency is None:
            return None
        known = self._appends.get((append.scope.tenant, append.actor, append.idempotency.key))
        if known is None or known.expires_us <= append.at_us:
            return None
        key = append.idempotency.key
        if known.fingerprint != append.idempotency.fingerprint:
            raise KeyReusedError(f"idempotency key {key!r} came before with another request; choose a new key")
        span = range(known.first_index, known.last_index + 1)
        docs = [one.doc for one in known.session.messages if one.index in span and _is_visible(one, append.at_us)]
        if len(docs) < len(span):
            raise ReplayGoneError(f"the messages that idempotency key {key!r} added are gone; choose a new key")
        return Appended(tuple(docs), known.last_index, is_replay=True)


def _is_visible(message: StoredMessage, now_us: int) -> bool:
    return message.expires_us is None or message.expires_us > now_us
