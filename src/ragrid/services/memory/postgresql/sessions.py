"""Sessions, in PostgreSQL."""

from ragrid.services.memory.changes import Scope
from ragrid.services.memory.messages import Append, Appended, MessagePage
from ragrid.services.memory.postgresql import session_writing as writing
from ragrid.services.memory.postgresql.connections import Connections
from ragrid.services.memory.postgresql.lanes import Job
from ragrid.services.memory.postgresql.session_writing import STATE_COLUMNS
from ragrid.services.memory.protocol.sessions import Order, SessionSummary
from ragrid.services.memory.working_state import PutState, ReadState, StoredState, rendered_state

_STATE = f"""
SELECT {STATE_COLUMNS} FROM session
WHERE tenant = $1 AND namespace = $2 AND id = $3 AND state IS NOT NULL
  AND (state_expires_us IS NULL OR state_expires_us > $4)
"""  # noqa: S608 - our own words
#: One row without a message when there is none behind `$4`, no row when there is no such session.
_MESSAGES = """
SELECT m.position, m.doc FROM session AS s LEFT JOIN LATERAL (
  SELECT position, doc FROM session_message
  WHERE tenant = $1 AND namespace = $2 AND session = $3 AND position {side} $4
    AND (expires_us IS NULL OR expires_us > $5)
  ORDER BY position {direction} LIMIT $6
) AS m ON true
WHERE s.tenant = $1 AND s.namespace = $2 AND s.id = $3 AND s.is_live ORDER BY m.position {direction}
"""
_NEWEST = _MESSAGES.format(side="<", direction="DESC")
_OLDEST = _MESSAGES.format(side=">", direction="ASC")
_SESSIONS = """
SELECT id, last_index,
  CASE WHEN state IS NOT NULL AND (state_expires_us IS NULL OR state_expires_us > $4) THEN state_version END
FROM session WHERE tenant = $1 AND namespace = $2 AND is_live AND id > $3 ORDER BY id LIMIT $5
"""
_DUE = "SELECT tenant FROM tenant WHERE next_session_expiry_us <= $1 ORDER BY next_session_expiry_us LIMIT 64"


class PostgresSessions(Connections):
    """See protocol/sessions.py."""

    async def append(self, append: Append) -> Appended:
        """See Sessions."""
        job = Job(lambda transaction: writing.append_messages(transaction, append))
        added: Appended = await self.writer.submit(append.scope.tenant, job)
        return added

    async def messages(
        self, scope: Scope, session_id: str, *, now_us: int, limit: int, order: Order, beyond: int | None = None
    ) -> MessagePage | None:
        """See Sessions."""
        sql, start = (_NEWEST, 2**62) if order == "newest" else (_OLDEST, 0)
        key = (scope.tenant, scope.namespace, session_id)
        behind = start if beyond is None else beyond
        rows = await self.rows(scope.tenant, sql, *key, behind, now_us, limit + 1)
        if not rows:
            return None
        more = rows[limit - 1][0] if len(rows) > limit else None
        return MessagePage(tuple(doc for _, doc in rows[:limit] if doc is not None), more)

    async def put_state(self, put: PutState) -> ReadState:
        """See Sessions."""
        job = Job(lambda transaction: writing.put_state(transaction, put))
        result: ReadState = await self.writer.submit(put.scope.tenant, job)
        return result

    async def state(self, scope: Scope, session_id: str, *, now_us: int) -> ReadState | None:
        """See Sessions."""
        rows = await self.rows(scope.tenant, _STATE, scope.tenant, scope.namespace, session_id, now_us)
        if not rows:
            return None
        state = StoredState(*rows[0])
        return ReadState(state.version, rendered_state(state, scope, session_id))

    async def sessions(
        self, scope: Scope, *, now_us: int, limit: int, after: str | None = None
    ) -> tuple[SessionSummary, ...]:
        """See Sessions."""
        place = (scope.tenant, scope.namespace, after or "")
        rows = await self.rows(scope.tenant, _SESSIONS, *place, now_us, limit)
        return tuple(SessionSummary(*row) for row in rows)

    async def delete_session(self, scope: Scope, session_id: str) -> None:
        """See Sessions."""
        job = Job(lambda transaction: writing.delete_session(transaction, scope, session_id))
        await self.writer.submit(scope.tenant, job)

    async def sweep_sessions(self, *, now_us: int, limit: int) -> int:
        """See Sessions. Several replicas may sweep at once."""
        job = Job(lambda transaction: writing.sweep_sessions(transaction, now_us, limit))
        return sum([await self.writer.submit(tenant, job) for (tenant,) in await self.rows("", _DUE, now_us)])
