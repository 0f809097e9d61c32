"""The records of jobs, in SQLite."""

from collections.abc import Sequence
from typing import Any

import apsw
import msgspec

from ragrid.services.memory.jobs.model import KEPT_US, SILENCE_US, Job, StoredJob, left
from ragrid.services.memory.sqlite.connections import Connections
from ragrid.services.memory.sqlite.files import fetch
from ragrid.services.memory.sqlite.transaction import Transaction

_SAVE = """
INSERT INTO job (id, tenant, is_ended, updated_us, doc) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET is_ended = excluded.is_ended, updated_us = excluded.updated_us, doc = excluded.doc
WHERE job.is_ended = 0 AND job.tenant = excluded.tenant
"""
_ONE = "SELECT tenant, doc FROM job WHERE tenant = ? AND id = ?"
_SEVERAL = "SELECT tenant, doc FROM job WHERE tenant = ? AND id < ? ORDER BY id DESC LIMIT ?"
_LEFT = "SELECT tenant, doc FROM job WHERE is_ended = 0 AND updated_us <= ?"
#: Above every id.
_NO_ID = "\x7f"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Job).decode


class SqliteJobs(Connections):
    """See protocol/jobs.py."""

    async def save_job(self, stored: StoredJob) -> None:
        """See Jobs."""
        await self.writer.submit(lambda transaction: _save(transaction, stored))

    async def job(self, tenant: str, job_id: str) -> StoredJob | None:
        """See Jobs."""
        rows = await self._jobs(_ONE, (tenant, job_id))
        return rows[0] if rows else None

    async def jobs(self, tenant: str, *, limit: int, before: str | None = None) -> tuple[StoredJob, ...]:
        """See Jobs."""
        return await self._jobs(_SEVERAL, (tenant, _NO_ID if before is None else before, limit))

    async def sweep_jobs(self, *, now_us: int) -> None:
        """See Jobs."""

        def work(transaction: Transaction) -> None:
            for tenant, doc in transaction.run(_LEFT, (now_us - SILENCE_US,)).fetchall():
                _save(transaction, left(StoredJob(tenant, _decode(doc)), now_us))
            transaction.run("DELETE FROM job WHERE is_ended = 1 AND updated_us <= ?", (now_us - KEPT_US,))

        await self.writer.submit(work, makes_room=True)

    async def _jobs(self, sql: str, parameters: Sequence[Any]) -> tuple[StoredJob, ...]:
        def work(reader: apsw.Connection) -> tuple[StoredJob, ...]:
            return tuple(StoredJob(tenant, _decode(doc)) for tenant, doc in fetch(reader, sql, parameters))

        return await self.in_pool(work)


def _save(transaction: Transaction, stored: StoredJob) -> None:
    row = (stored.job.id, stored.tenant, int(stored.is_ended), stored.updated_us, _encode(stored.job))
    transaction.run(_SAVE, row)
