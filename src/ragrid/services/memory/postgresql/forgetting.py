"""Counting and choosing by filter, in PostgreSQL."""

from ragrid.services.memory.changes import Scope
from ragrid.services.memory.postgresql.connections import Connections
from ragrid.services.memory.postgresql.queries import chosen_statement, count_statement
from ragrid.services.memory.protocol.forgetting import Counted
from ragrid.services.memory.protocol.memories import Filter


class PostgresForgetting(Connections):
    """See protocol/forgetting.py."""

    async def count(self, scope: Scope, wanted: Filter, *, now_us: int) -> Counted:
        """See Forgetting."""
        sql, parameters = count_statement(scope, wanted, now_us=now_us)
        return Counted(*(await self.rows(scope.tenant, sql, *parameters))[0])

    async def chosen(
        self, scope: Scope, wanted: Filter, *, now_us: int, up_to_seq: int, limit: int
    ) -> tuple[tuple[str, int], ...]:
        """See Forgetting."""
        sql, parameters = chosen_statement(scope, wanted, now_us=now_us, up_to_seq=up_to_seq, limit=limit)
        rows = await self.rows(scope.tenant, sql, *parameters)
        return tuple((row["id"], row["version"]) for row in rows)
