"""Export and import, in PostgreSQL. An export reads in one transaction over a connection of its own."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence

import asyncpg

from ragrid.services.memory.changes import MemoryCopy, Scope
from ragrid.services.memory.embedding.sources import carried_model, models_of
from ragrid.services.memory.exchange.deciding import Verdict
from ragrid.services.memory.exchange.exporting import Chunk, check_room
from ragrid.services.memory.exchange.lines import Copy, Step, memory_line, namespace_lines, session_line
from ragrid.services.memory.postgresql import exchange_writing as writing
from ragrid.services.memory.postgresql.connections import Connections
from ragrid.services.memory.postgresql.lanes import Job
from ragrid.services.memory.postgresql.namespaces import NAMESPACE_COLUMNS, namespace_of
from ragrid.services.memory.postgresql.session_writing import STATE_COLUMNS
from ragrid.services.memory.postgresql.vectors import MODELS
from ragrid.services.memory.postgresql.workspace import Need
from ragrid.services.memory.protocol.exchange import Exported
from ragrid.services.memory.working_state import StoredState, rendered_state

#: How long an export waits for its reader before it is given up: its snapshot keeps old rows from being cleared away.
_PATIENCE = "SET LOCAL idle_in_transaction_session_timeout = '60s'"
_AT_ONCE = 64
#: How long the caller of an import waits for one transaction of it, seconds: it may carry 10,000 memories.
_PATIENCE_S = 60.0

_NAMESPACES = f"""
SELECT {NAMESPACE_COLUMNS} FROM namespace WHERE tenant = $1 AND ($2::text IS NULL OR name = $2) ORDER BY name
"""  # noqa: S608 - our own words
# Before the last end that erased contents, nothing is left: those versions have no contents, and deletes are left out.
_VERSIONS = """
SELECT e.id, v.vector, e.op, e.version, e.at_us, e.actor, e.doc
FROM memory_event AS e JOIN memory AS m ON m.tenant = $1 AND m.namespace = $2 AND m.id = e.id
  LEFT JOIN memory_vector AS v
    ON v.tenant = $1 AND v.position = m.position AND v.model = $4 AND e.version = m.version AND e.doc IS NOT NULL
WHERE e.tenant = $1 AND e.namespace = $2 AND NOT m.is_erased AND (m.expires_us IS NULL OR m.expires_us > $3) AND (
  e.doc IS NOT NULL OR (e.op = 'delete' AND NOT EXISTS (
    SELECT FROM memory_event AS later WHERE later.tenant = $1 AND later.namespace = $2 AND later.id = e.id
      AND later.seq > e.seq AND later.op IN ('expire', 'purge'))))
ORDER BY m.position, e.seq
"""
_SESSIONS = "SELECT id FROM session WHERE tenant = $1 AND namespace = $2 AND is_live ORDER BY id"
_MESSAGES = """
SELECT doc FROM session_message
WHERE tenant = $1 AND namespace = $2 AND session = $3 AND (expires_us IS NULL OR expires_us > $4) ORDER BY position
"""
_STATE = f"""
SELECT {STATE_COLUMNS} FROM session
WHERE tenant = $1 AND namespace = $2 AND id = $3 AND state IS NOT NULL
  AND (state_expires_us IS NULL OR state_expires_us > $4)
"""  # noqa: S608 - our own words


class PostgresExchange(Connections):
    """See protocol/exchange.py."""

    async def export(self, tenant: str, namespace: str | None, *, now_us: int) -> AsyncGenerator[Exported, None]:
        """See Exchange."""
        check_room(self.exporting.in_use)
        async with (
            self.exporting.reader(tenant) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            await connection.execute(_PATIENCE)
            chunk = Chunk()
            async for line in _lines(connection, tenant, namespace, now_us):
                if chunk.add(line) and (full := chunk.taken()):
                    yield full
            if rest := chunk.taken():
                yield rest

    async def take(self, copies: Sequence[Copy], *, now_us: int, is_atomic: bool) -> tuple[Verdict, ...]:
        """See Exchange."""
        if not copies:
            return ()
        memories = [one for one in copies if isinstance(one, MemoryCopy)]
        need = Need(
            keys=tuple({(one.scope.namespace, one.id) for one in memories}),
            documents=tuple({(one.scope.namespace, one.id, one.version) for one in memories}),
            rooms=tuple({one.scope.namespace for one in memories}),
        )
        job = Job(
            lambda transaction: writing.take(transaction, copies, now_us=now_us, is_atomic=is_atomic),
            need,
            weight=len(copies),
            patience_s=_PATIENCE_S,
        )
        verdicts: tuple[Verdict, ...] = await self.writer.submit(copies[0].scope.tenant, job)
        return verdicts


async def _lines(
    connection: asyncpg.Connection, tenant: str, namespace: str | None, now_us: int
) -> AsyncIterator[bytes]:
    models = models_of(await connection.fetch(MODELS))
    for row in await connection.fetch(_NAMESPACES, tenant, namespace):
        space = namespace_of(row)
        name, scope = space.name, Scope(tenant, space.name)
        for line in namespace_lines(space):
            yield line
        carried = carried_model(space.room, models)
        model = None if carried is None else carried[0]
        rows = connection.cursor(_VERSIONS, tenant, name, now_us, model, prefetch=_AT_ONCE)
        async for memory_id, vector, *step in rows:
            brought = None if carried is None or vector is None else (carried[1], vector)
            yield memory_line(scope, memory_id, Step(*step), brought)
        async for (session_id,) in connection.cursor(_SESSIONS, tenant, name, prefetch=_AT_ONCE):
            key = (tenant, name, session_id, now_us)
            async for (doc,) in connection.cursor(_MESSAGES, *key, prefetch=_AT_ONCE):
                yield session_line("message", doc)
            for state in await connection.fetch(_STATE, *key):
                yield session_line("state", rendered_state(StoredState(*state), scope, session_id))
