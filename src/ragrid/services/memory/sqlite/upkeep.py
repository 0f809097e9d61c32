"""Sweeping, probing, counting and closing the SQLite store."""

import asyncio
from pathlib import Path

import apsw

from ragrid.services.memory.errors import StoreBrokenError
from ragrid.services.memory.metrics import EXPIRED
from ragrid.services.memory.protocol.upkeep import Stats
from ragrid.services.memory.sqlite.connections import Connections, broken
from ragrid.services.memory.sqlite.files import fetch
from ragrid.services.memory.sqlite.writing.upkeep import Swept, sweep

#: A writer that does not come round in this time is stuck, seconds. A slow disk's flush took 0.03 s at its worst.
PROBE_TIMEOUT_S = 3.0


class SqliteUpkeep(Connections):
    """See protocol/upkeep.py."""

    @property
    def waiting_writes(self) -> int:
        """Writes accepted and not yet answered."""
        return self.writer.waiting

    async def sweep(self, *, now_us: int, limit: int) -> int:
        """See Upkeep."""
        swept: Swept = await self.writer.submit(lambda transaction: sweep(transaction, now_us, limit), makes_room=True)
        EXPIRED.inc(swept.ended)
        return max(swept)

    async def probe(self) -> None:
        """See Upkeep."""
        try:
            fetch(self.reader, "SELECT position FROM memory LIMIT 1")
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                await self.writer.submit(lambda _transaction: None)
        except apsw.Error as error:
            raise broken(error) from error
        except TimeoutError as error:
            raise StoreBrokenError(f"the writer did not come round in {PROBE_TIMEOUT_S:g} s; it is stuck") from error

    async def stats(self) -> Stats:
        """See Upkeep."""
        files = (self.path, Path(f"{self.path}-wal"))
        return Stats(self.writer.rows, sum(one.stat().st_size for one in files if one.exists()))

    async def close(self) -> None:
        """See Upkeep."""
        await asyncio.to_thread(self._pool.shutdown)
        # The writer answers through the loop, so the loop must stay free while the thread ends.
        await asyncio.to_thread(self._resources.close)
