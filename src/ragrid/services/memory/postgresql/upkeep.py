"""Sweeping, probing, counting and closing the PostgreSQL store."""

import asyncio

from ragrid.services.memory.errors import StoreBrokenError
from ragrid.services.memory.metrics import EXPIRED
from ragrid.services.memory.postgresql.connections import Connections
from ragrid.services.memory.postgresql.lanes import Job
from ragrid.services.memory.postgresql.schema import SCHEMA
from ragrid.services.memory.postgresql.transaction import Transaction
from ragrid.services.memory.protocol.upkeep import Stats

#: A writer that does not come round in this time is stuck, seconds.
PROBE_TIMEOUT_S = 3.0
#: Tenants that one call sweeps at most.
_TENANTS = 64
#: Nobody's: names of tenants have one character at least.
_NOBODY = ""

_DUE = "SELECT tenant FROM tenant WHERE next_expiry_us <= $1 ORDER BY next_expiry_us LIMIT $2"
_TOUCH = "UPDATE tenant SET seq = seq + 1 WHERE tenant = $1"
_STATS = f"""
SELECT (SELECT coalesce(sum(rows), 0) FROM tenant)::bigint,
  (SELECT sum(pg_total_relation_size(oid)) FROM pg_class
   WHERE relkind = 'r' AND relnamespace = '{SCHEMA}'::regnamespace)::bigint
"""  # noqa: S608 - our own words


class PostgresUpkeep(Connections):
    """See protocol/upkeep.py."""

    @property
    def waiting_writes(self) -> int:
        """Writes accepted and not yet answered."""
        return self.writer.waiting

    async def sweep(self, *, now_us: int, limit: int) -> int:
        """See Upkeep. Several replicas may sweep at once: each memory ends once."""
        swept = 0
        for (tenant,) in await self.rows(_NOBODY, _DUE, now_us, _TENANTS):
            rest = limit - swept

            async def work(transaction: Transaction, rest: int = rest) -> int:
                return await transaction.sweep(now_us, rest)

            swept += await self.writer.submit(tenant, Job(work))
            if swept >= limit:
                break
        EXPIRED.inc(swept)
        return swept

    async def probe(self) -> None:
        """See Upkeep. The write is a real one, flushed to the server's disk."""

        async def touch(transaction: Transaction) -> None:
            await transaction.connection.execute(_TOUCH, _NOBODY)

        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                await self.rows(_NOBODY, "SELECT tenant FROM tenant LIMIT 1")
                await self.writer.submit(_NOBODY, Job(touch))
        except TimeoutError as error:
            raise StoreBrokenError(f"the database did not answer in {PROBE_TIMEOUT_S:g} s; it is stuck") from error

    async def stats(self) -> Stats:
        """See Upkeep. Counted over all replicas."""
        rows, size_bytes = (await self.rows(_NOBODY, _STATS))[0]
        return Stats(rows, size_bytes, nearest=self.nearest.state)

    async def close(self) -> None:
        """See Upkeep."""
        await self.nearest.close()
        await self.writer.close()
        await self.wakeups.close()
        await self.writing.close()
        await self.exporting.close()
        await self.pool.close()
