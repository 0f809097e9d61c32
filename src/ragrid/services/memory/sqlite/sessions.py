"""Sessions, in SQLite."""

import apsw

from ragrid.services.memory.changes import Scope
from ragrid.services.memory.messages import Append, Appended, MessagePage
from ragrid.services.memory.protocol.sessions import Order, SessionSummary
from ragrid.services.memory.sqlite.connections import Connections
from ragrid.services.memory.sqlite.files import fetch
from ragrid.services.memory.sqlite.queries import Statement
from ragrid.services.memory.sqlite.writing import sessions as writing
from ragrid.services.memory.working_state import PutState, ReadState, StoredState, rendered_state

_LIVE = "SELECT number FROM session WHERE namespace = ? AND id = ? AND is_live = 1"
_STATE = """
SELECT state_version, state, state_ttl_s, state_expires_us, state_updated_us, state_updated_by FROM session
WHERE namespace = ? AND id = ? AND state IS NOT NULL AND (state_expires_us IS NULL OR state_expires_us > ?)
"""
_SESSIONS = """
SELECT id, last_index,
  CASE WHEN state IS NOT NULL AND (state_expires_us IS NULL OR state_expires_us > ?) THEN state_version END
FROM session WHERE namespace = ? AND is_live = 1 AND id > ? ORDER BY id LIMIT ?
"""


class SqliteSessions(Connections):
    """See protocol/sessions.py."""

    async def append(self, append: Append) -> Appended:
        """See Sessions."""
        added: Appended = await self.writer.submit(lambda transaction: writing.append_messages(transaction, append))
        return added

    async def messages(
        self, scope: Scope, session_id: str, *, now_us: int, limit: int, order: Order, beyond: int | None = None
    ) -> MessagePage | None:
        """See Sessions."""

        def work(reader: apsw.Connection) -> MessagePage | None:
            namespace = self.number(reader, scope)
            with reader:  # both statements see the same moment
                live = [] if namespace is None else fetch(reader, _LIVE, (namespace, session_id))
                if not live:
                    return None
                rows = fetch(
                    reader, *_page((namespace, live[0][0]), now_us=now_us, limit=limit, order=order, beyond=beyond)
                )
            more = rows[limit - 1][0] if len(rows) > limit else None
            return MessagePage(tuple(doc for _, doc in rows[:limit]), more)

        return await self.in_pool(work)

    async def put_state(self, put: PutState) -> ReadState:
        """See Sessions."""
        result: ReadState = await self.writer.submit(lambda transaction: writing.put_state(transaction, put))
        return result

    async def state(self, scope: Scope, session_id: str, *, now_us: int) -> ReadState | None:
        """See Sessions."""
        rows = await self.rows(scope, lambda namespace: (_STATE, (namespace, session_id, now_us)))
        if not rows:
            return None
        state = StoredState(*rows[0])
        return ReadState(state.version, rendered_state(state, scope, session_id))

    async def sessions(
        self, scope: Scope, *, now_us: int, limit: int, after: str | None = None
    ) -> tuple[SessionSummary, ...]:
        """See Sessions."""
        rows = await self.rows(scope, lambda namespace: (_SESSIONS, (now_us, namespace, after or "", limit)))
        return tuple(SessionSummary(*row) for row in rows)

    async def delete_session(self, scope: Scope, session_id: str) -> None:
        """See Sessions."""
        work = writing.delete_session
        await self.writer.submit(lambda transaction: work(transaction, scope, session_id), makes_room=True)

    async def sweep_sessions(self, *, now_us: int, limit: int) -> int:
        """See Sessions."""
        work = writing.sweep_sessions
        swept: int = await self.writer.submit(lambda transaction: work(transaction, now_us, limit), makes_room=True)
        return swept


def _page(session: tuple[int | None, int], *, now_us: int, limit: int, order: Order, beyond: int | None) -> Statement:
    """Return the statement for one page of a session (its namespace and number), one row more than asked for."""
    side, direction, start = ("<", "DESC", 2**62) if order == "newest" else (">", "ASC", 0)
    sql = f"""
        SELECT position, doc FROM session_message
        WHERE namespace = ? AND session = ? AND position {side} ? AND (expires_us IS NULL OR expires_us > ?)
        ORDER BY position {direction} LIMIT ?
    """  # noqa: S608 - our own words
    return sql, (*session, start if beyond is None else beyond, now_us, limit + 1)
