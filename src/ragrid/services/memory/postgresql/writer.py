"""Writes in groups: what waits while a transaction of its tenant is under way shares the next one.

Each tenant has a lane, and each lane one transaction at a time; several lanes run at once. The tenant's lock in the
server would put them one behind the other anyway, and a shared transaction shares its round trips and its flush.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import asyncpg

from ragrid.errors import RagridError
from ragrid.services.memory.changes import Scope
from ragrid.services.memory.errors import StoreBrokenError, StoreBusyError
from ragrid.services.memory.feed.watch import Watches
from ragrid.services.memory.metrics import COMMIT_BATCH_SIZE, COMMIT_SECONDS
from ragrid.services.memory.postgresql.failures import FAILURES, LOST, OF_ONE, is_connection_good, refusal_of
from ragrid.services.memory.postgresql.lanes import Job, Lane, Waiting
from ragrid.services.memory.postgresql.pool import Pool
from ragrid.services.memory.postgresql.transaction import Transaction
from ragrid.services.memory.postgresql.workspace import joined

logger = logging.getLogger(__name__)

#: Changes that may wait; the next is refused.
QUEUE_LIMIT = 2048
#: Transactions at once, each of another tenant.
LANES = 4
#: How often a batch that lost against another transaction is tried again.
RETRIES = 3
#: How long the end of a transaction whose answer was lost is looked for, and how often, seconds.
DOUBT_LIMIT_S = 10.0
DOUBT_PAUSE_S = 0.2

#: After so many changes by one process, the tables are counted: a plan that was made for an empty table looks through
#: whole tenants (0.9 instead of 0.01 ms for each key), and the server itself looks once a minute.
ANALYSE_AFTER = (200, 2_000, 20_000)
COUNTED = ("tenant", "namespace", "memory", "memory_words", "memory_event", "memory_vector", "embedding_outbox")

#: How often writes that wait too long are looked for, seconds.
LOOK_S = 1.0


class Writer:
    """Runs jobs, each whole or not at all, in order within a tenant, and answers each only after its commit."""

    def __init__(self, pool: Pool, watches: Watches, changed: Callable[[Iterable[Scope]], None]) -> None:
        self._pool = pool
        #: Who waits for changes; `changed` wakes them after a commit.
        self.watches = watches
        self._changed = changed
        self._lanes: dict[str, Lane] = {}
        self._ready: deque[str] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._waiting = 0
        self._changes = 0
        self._is_closed = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Changes that were accepted and not yet answered."""
        return self._waiting

    def submit(self, tenant: str, job: Job) -> asyncio.Future[Any]:
        """Queue a job; the future ends after its commit, or when its caller has waited for too long.

        Raises StoreBusyError or StoreBrokenError at once.
        """
        if self._is_closed:
            raise StoreBrokenError("the store is closing; send the request again")
        if self._waiting >= QUEUE_LIMIT:
            raise StoreBusyError(f"{self._waiting} writes are waiting, wanted under {QUEUE_LIMIT}; try again soon")
        loop = asyncio.get_running_loop()
        one = Waiting(job, loop.create_future(), loop.time() + job.patience_s)
        lane = self._lanes.get(tenant)
        if lane is None:
            lane = self._lanes[tenant] = Lane()
            self._ready.append(tenant)
        lane.add(one)
        self._waiting += job.weight
        if self._timer is None:
            self._timer = loop.call_later(LOOK_S, self._look)
        self._start()
        return one.future

    async def close(self) -> None:
        """Finish what was accepted."""
        self._is_closed = True
        while self._running:
            await asyncio.wait(self._running)
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        """Tell those who have waited too long; look again while anybody waits."""
        loop = asyncio.get_running_loop()
        for lane in self._lanes.values():
            self._waiting -= sum(one.job.weight for one in lane.give_up(loop.time()))
        self._timer = loop.call_later(LOOK_S, self._look) if self._lanes else None

    def _start(self) -> None:
        while self._ready and len(self._running) < LANES:
            task = asyncio.create_task(self._run(self._ready.popleft()))
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._start()

    async def _run(self, tenant: str) -> None:
        """Run one batch of a lane; the lane waits for its next turn behind the others."""
        lane = self._lanes[tenant]
        batch = lane.begin()
        results: list[Any] = []
        try:
            if batch:  # all may have been given up while the lane waited for its turn
                results = await self._commit(tenant, [one.job for one in batch])
        except asyncio.CancelledError:
            results = [StoreBrokenError("the store was stopped; the change may not have been written")] * len(batch)
            raise
        finally:
            self._answer(batch, results)
            lane.end()
            if lane:
                self._ready.append(tenant)
            else:
                del self._lanes[tenant]

    async def _commit(self, tenant: str, jobs: Sequence[Job]) -> list[Any]:
        started_s = time.perf_counter()
        try:
            results = await self._tried(tenant, jobs)
        except Exception as error:  # noqa: BLE001 - the lane must live on, whatever one batch ran into
            if len(jobs) > 1 and (isinstance(error, OF_ONE) or not isinstance(error, (*FAILURES, RagridError))):
                return [result for job in jobs for result in await self._commit(tenant, [job])]
            return [_refusal(error)] * len(jobs)
        weight = sum(job.weight for job in jobs)
        COMMIT_SECONDS.observe(time.perf_counter() - started_s)
        COMMIT_BATCH_SIZE.observe(weight)
        self._count(weight)
        return results

    def _count(self, changes: int) -> None:
        """Have the tables counted when they may have grown a lot: the server plans for what it counted last."""
        before, self._changes = self._changes, self._changes + changes
        if any(before < mark <= self._changes for mark in ANALYSE_AFTER):
            task = asyncio.create_task(self._analyse())
            self._running.add(task)
            task.add_done_callback(self._ended)

    async def _analyse(self) -> None:
        try:
            async with self._pool.connection() as connection:
                for table in COUNTED:
                    await connection.execute(f"ANALYZE {table}")
        except (*FAILURES, RagridError) as error:
            logger.info("the tables are counted later", extra={"reason": str(error)})

    async def _tried(self, tenant: str, jobs: Sequence[Job]) -> list[Any]:
        for attempt in range(RETRIES + 1):
            try:
                return await self._attempt(tenant, jobs)
            except LOST:
                if attempt == RETRIES:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, tenant: str, jobs: Sequence[Job]) -> list[Any]:
        async with self._pool.connection() as connection:
            try:
                transaction = await Transaction.begin(connection, tenant)
                results = await _run_all(transaction, jobs)
            except BaseException as error:
                await _roll_back(connection, error)
                raise
            try:
                await transaction.commit()
            except FAILURES as error:
                connection.terminate()
                doubt: BaseException | None = error
            else:
                doubt = None
        if doubt is not None:
            await self._resolve(transaction.number, doubt)
        self._changed(Scope(tenant, namespace) for namespace in transaction.workspace.changed)
        return results

    async def _resolve(self, number: str, error: BaseException) -> None:
        """Return once the server says that a transaction holds whose commit got no answer; raise when it does not."""
        logger.warning("a commit got no answer; asking for it", extra={"reason": str(error)})
        deadline_s = time.monotonic() + DOUBT_LIMIT_S
        while time.monotonic() < deadline_s:
            try:
                async with self._pool.connection() as connection:
                    status = await connection.fetchval("SELECT pg_xact_status($1::text::xid8)", number)
            except FAILURES:
                status = None
            if status == "committed":
                return
            if status == "aborted":
                raise error
            await asyncio.sleep(DOUBT_PAUSE_S)
        raise StoreBrokenError("the database was lost during a commit; read what the change did before it is repeated")

    def _answer(self, batch: Sequence[Waiting], results: Sequence[Any]) -> None:
        self._waiting -= sum(one.job.weight for one in batch)
        for one, result in zip(batch, results, strict=True):
            if one.future.done():  # the caller went away, or waited in vain; the change stays
                continue
            if isinstance(result, Exception):
                one.future.set_exception(result)
            else:
                one.future.set_result(result)


async def _run_all(transaction: Transaction, jobs: Sequence[Job]) -> list[Any]:
    await transaction.load(joined([job.need for job in jobs]))
    results = []
    for job in jobs:
        try:
            results.append(await job.work(transaction))
        except RagridError as error:  # a refusal is a result; it comes before anything is written
            results.append(error)
    await transaction.flush()
    return results


async def _roll_back(connection: asyncpg.Connection, error: BaseException) -> None:
    """Undo a transaction; where that is not possible, the server does it when the connection ends."""
    if isinstance(error, FAILURES) and not is_connection_good(error):
        return
    if isinstance(error, asyncio.CancelledError):
        return
    try:
        await connection.execute("ROLLBACK")
    except FAILURES:
        connection.terminate()


def _refusal(error: Exception) -> RagridError:
    if isinstance(error, RagridError):
        return error
    if isinstance(error, FAILURES):
        logger.warning("a commit failed", extra={"reason": f"{type(error).__name__}: {error}"})
    else:
        logger.error("a commit failed", exc_info=error)
    return refusal_of(error)
