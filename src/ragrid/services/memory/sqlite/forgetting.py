"""Counting and choosing by filter, in SQLite."""

import apsw

from ragrid.services.memory.changes import Scope
from ragrid.services.memory.protocol.forgetting import Counted
from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.sqlite.connections import Connections
from ragrid.services.memory.sqlite.files import fetch
from ragrid.services.memory.sqlite.queries import Statement, chosen_statement, count_statement


class SqliteForgetting(Connections):
    """See protocol/forgetting.py."""

    async def count(self, scope: Scope, wanted: Filter, *, now_us: int) -> Counted:
        """See Forgetting."""

        def work(reader: apsw.Connection) -> Counted:
            number = self.number(reader, scope)
            with reader:  # both statements see the same moment
                seq = fetch(reader, "SELECT value FROM counter WHERE name = 'seq'")[0][0]
                statement = None if number is None else count_statement(number, wanted, now_us=now_us)
                count = 0 if statement is None else fetch(reader, *statement)[0][0]
            return Counted(count, seq)

        return await self.in_pool(work)

    async def chosen(
        self, scope: Scope, wanted: Filter, *, now_us: int, up_to_seq: int, limit: int
    ) -> tuple[tuple[str, int], ...]:
        """See Forgetting."""

        def statement(number: int) -> Statement:
            return chosen_statement(number, wanted, now_us=now_us, up_to_seq=up_to_seq, limit=limit)

        return tuple((one[0], one[1]) for one in await self.rows(scope, statement))
