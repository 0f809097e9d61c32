"""What every facet of the PostgreSQL store stands on: a pool that reads, and a writer with a pool of its own."""

from collections.abc import Sequence
from typing import Any

from ragrid.services.memory.exchange.exporting import EXPORTS
from ragrid.services.memory.feed.watch import Watches
from ragrid.services.memory.postgresql.nearest import FROM_ROWS, NearestIndex
from ragrid.services.memory.postgresql.pool import PATIENCE_S, Pool
from ragrid.services.memory.postgresql.reads import GroupedReads
from ragrid.services.memory.postgresql.wakeups import Wakeups
from ragrid.services.memory.postgresql.writer import LANES, Writer

#: Connections that read, in each process.
READERS = 6


class Connections:
    """The connections of one process to the database; every facet works over one object of it."""

    def __init__(self, dsn: str, *, index_from_rows: int | None = FROM_ROWS) -> None:
        self.pool = Pool(dsn, READERS, patience_s=PATIENCE_S)
        self.reads = GroupedReads(self.pool)
        self.writing = Pool(dsn, LANES)
        self.exporting = Pool(dsn, EXPORTS)  # a connection for each, as long as its reader takes
        watches = Watches()
        self.wakeups = Wakeups(dsn, self.pool, watches)
        self.writer = Writer(self.writing, watches, self.wakeups.changed)
        self.wakeups.start()
        self.nearest = NearestIndex(dsn, from_rows=index_from_rows)

    async def rows(self, tenant: str, sql: str, *parameters: object) -> Sequence[Any]:
        """Run one statement that reads, shown the rows of `tenant` alone.

        Without a tenant (an empty name), it is about tables that show no contents, and any connection does.
        """
        async with self.pool.reader(tenant or None) as connection:
            rows: Sequence[Any] = await connection.fetch(sql, *parameters)
            return rows
