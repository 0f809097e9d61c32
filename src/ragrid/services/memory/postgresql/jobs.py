"""The records of jobs, in PostgreSQL."""

import msgspec

from ragrid.services.memory.jobs.model import KEPT_US, SILENCE_US, StoredJob, left
from ragrid.services.memory.jobs.model import Job as JobRecord
from ragrid.services.memory.postgresql.connections import Connections
from ragrid.services.memory.postgresql.lanes import Job
from ragrid.services.memory.postgresql.transaction import Transaction

_SAVE = """
INSERT INTO job (tenant, id, is_ended, updated_us, doc) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant, id) DO UPDATE
  SET is_ended = excluded.is_ended, updated_us = excluded.updated_us, doc = excluded.doc
WHERE NOT job.is_ended
"""
_DUE = "UPDATE tenant SET next_job_us = least(next_job_us, $2) WHERE tenant = $1"
_ONE = "SELECT doc FROM job WHERE tenant = $1 AND id = $2"
_SEVERAL = "SELECT doc FROM job WHERE tenant = $1 AND id < $2 ORDER BY id DESC LIMIT $3"
_LEFT = "SELECT doc FROM job WHERE tenant = $1 AND NOT is_ended AND updated_us <= $2"
_FORGET = "DELETE FROM job WHERE tenant = $1 AND is_ended AND updated_us <= $2"
_NEXT = f"""
UPDATE tenant SET next_job_us = (
  SELECT min(updated_us + CASE WHEN is_ended THEN {KEPT_US} ELSE {SILENCE_US} END) FROM job WHERE tenant = $1
) WHERE tenant = $1
"""  # noqa: S608 - our own numbers
_TENANTS = "SELECT tenant FROM tenant WHERE next_job_us <= $1 ORDER BY next_job_us LIMIT 64"
#: Above every id.
_NO_ID = "\x7f"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(JobRecord).decode


class PostgresJobs(Connections):
    """See protocol/jobs.py."""

    async def save_job(self, stored: StoredJob) -> None:
        """See Jobs."""
        await self.writer.submit(stored.tenant, Job(lambda transaction: _save(transaction, stored)))

    async def job(self, tenant: str, job_id: str) -> StoredJob | None:
        """See Jobs."""
        rows = await self.rows(tenant, _ONE, tenant, job_id)
        return StoredJob(tenant, _decode(rows[0][0])) if rows else None

    async def jobs(self, tenant: str, *, limit: int, before: str | None = None) -> tuple[StoredJob, ...]:
        """See Jobs."""
        rows = await self.rows(tenant, _SEVERAL, tenant, _NO_ID if before is None else before, limit)
        return tuple(StoredJob(tenant, _decode(doc)) for (doc,) in rows)

    async def sweep_jobs(self, *, now_us: int) -> None:
        """See Jobs. Several replicas may sweep at once."""
        job = Job(lambda transaction: _sweep(transaction, now_us))
        for (tenant,) in await self.rows("", _TENANTS, now_us):
            await self.writer.submit(tenant, job)


async def _save(transaction: Transaction, stored: StoredJob) -> None:
    row = (stored.tenant, stored.job.id, stored.is_ended, stored.updated_us, _encode(stored.job))
    await transaction.connection.execute(_SAVE, *row)
    due_us = stored.updated_us + (KEPT_US if stored.is_ended else SILENCE_US)
    await transaction.connection.execute(_DUE, stored.tenant, due_us)


async def _sweep(transaction: Transaction, now_us: int) -> None:
    tenant, connection = transaction.workspace.tenant, transaction.connection
    for (doc,) in await connection.fetch(_LEFT, tenant, now_us - SILENCE_US):
        await _save(transaction, left(StoredJob(tenant, _decode(doc)), now_us))
    await connection.execute(_FORGET, tenant, now_us - KEPT_US)
    await connection.execute(_NEXT, tenant)
