"""Memories one by one and in lists, in PostgreSQL."""

from ragrid.services.memory.changes import Change, Scope
from ragrid.services.memory.postgresql.connections import Connections
from ragrid.services.memory.postgresql.lanes import Job
from ragrid.services.memory.postgresql.queries import HISTORY, PAST, list_statement
from ragrid.services.memory.postgresql.workspace import need_of
from ragrid.services.memory.protocol.memories import Event, Filter, Page, Read, Written, past_read

_NEVER = 2**62


class PostgresMemories(Connections):
    """See protocol/memories.py."""

    async def read(self, scope: Scope, memory_id: str, *, now_us: int) -> Read | None:
        """See Memories."""
        return await self.reads.read(scope, memory_id, now_us=now_us)

    async def read_past(
        self, scope: Scope, memory_id: str, *, now_us: int, version: int | None = None, as_of_us: int | None = None
    ) -> Read | None:
        """See Memories."""
        key = (scope.tenant, scope.namespace, memory_id)
        rows = await self.rows(scope.tenant, PAST, *key, now_us, version, None if version is not None else as_of_us)
        return past_read(rows[0]["version"], rows[0]["doc"], as_of_us) if rows else None

    async def change(self, change: Change) -> Written:
        """See Memories."""

        job = Job(lambda transaction: transaction.change(change), need_of(change))
        result: Written = await self.writer.submit(change.scope.tenant, job)
        return result

    async def page(self, scope: Scope, wanted: Filter, *, now_us: int, limit: int, before: int | None = None) -> Page:
        """See Memories."""
        sql, parameters = list_statement(scope, wanted, now_us=now_us, limit=limit + 1, before=before)
        rows = await self.rows(scope.tenant, sql, *parameters)
        more = rows[limit - 1][0] if len(rows) > limit else None
        return Page(tuple(doc for _, doc in rows[:limit]), more)

    async def history(
        self, scope: Scope, memory_id: str, *, now_us: int, limit: int, before: int | None = None
    ) -> tuple[Event, ...] | None:
        """See Memories."""
        below = before if before is not None else _NEVER
        key = (scope.tenant, scope.namespace, memory_id)
        rows = await self.rows(scope.tenant, HISTORY, *key, now_us, below, limit)
        return tuple(Event(*row) for row in rows if row["seq"] is not None) if rows else None
