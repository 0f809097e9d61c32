"""The server's index of vectors: kept behind what is written, in the background, for namespaces where it pays.

To compare a question with every vector is exact, and fast while they are few. For a large namespace the server keeps an
HNSW index where it has pgvector (0.8 or newer); it is approximate, and knows no filter, so a search passes through it
until enough rows met the filter, and compares one by one where the filter lets little through (nearest_search.py).
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence

import asyncpg

from ragrid.errors import RagridError
from ragrid.services.memory.embedding.matrix import unpack
from ragrid.services.memory.metrics import VECTOR_INDEX, VECTOR_INDEX_ADDED
from ragrid.services.memory.postgresql import nearest_statements as statements
from ragrid.services.memory.postgresql.failures import FAILURES
from ragrid.services.memory.postgresql.nearest_tables import (
    NoIndexError,
    brought_models,
    index_models,
    indexable,
    models_in_use,
    prepare,
)
from ragrid.services.memory.postgresql.pool import Pool

logger = logging.getLogger(__name__)

#: Memories of a namespace from which on it is indexed. Below, comparing with all is as fast, and exact.
FROM_ROWS = 20_000
#: How often the index is brought forward, seconds; and, where there is none, how often one is looked for.
PAUSE_S = 1.0
LOOK_AGAIN_S = 60.0
#: How often what is no longer there leaves the index, seconds.
PRUNE_S = 60.0
#: Vectors that are added at once, and rows that are looked at once for what is gone.
BATCH = 128
PRUNE_BATCH = 10_000
_ANY_POSITION = 2**62

#: Failures that tell that the index went away under a search: the extension dropped, its library removed.
GONE = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedObjectError,
    asyncpg.UndefinedFunctionError,
    asyncpg.UndefinedFileError,
    asyncpg.InvalidCachedStatementError,
)


class NearestIndex:
    """The index of one database, as one replica sees it; any number of replicas may keep it together."""

    def __init__(self, dsn: str, *, from_rows: int | None = FROM_ROWS) -> None:
        self._pool = Pool(dsn, 1)
        self._from_rows = from_rows
        self._task: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._version: str | None = None
        self._reason = "not looked for yet"
        self._look_again_s = 0.0
        #: Models that have an index.
        self._indexed: frozenset[int] = frozenset()
        #: By tenant: what it had when it was last brought forward, and when it was last pruned.
        self._kept: dict[str, tuple[int, int]] = {}
        self._pruned: dict[str, tuple[int, int]] = {}
        self._next_prune_s = 0.0

    @property
    def is_there(self) -> bool:
        """The server can keep an index."""
        return self._version is not None

    def has(self, model: int) -> bool:
        """Tell whether searches may ask the index for a model's vectors."""
        return self.is_there and model in self._indexed

    @property
    def state(self) -> str:
        """How the nearest are found, in words for who runs the service."""
        if self._version is not None:
            return f"pgvector {self._version} from {self._from_rows} memories a namespace, exact below"
        return f"exact: {self._reason}"

    async def open(self) -> None:
        """Look for the extension and begin to keep the index; a server without it is no fault."""
        if self._from_rows is None:
            self._reason = "no index is wanted"
            return
        await self.look()
        self._task = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Stop keeping it."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._pool.close()

    async def look(self) -> None:
        """Find out whether there can be an index, and make its tables."""
        self._look_again_s = asyncio.get_running_loop().time() + LOOK_AGAIN_S
        try:
            async with self._pool.connection(None) as connection:
                version = await prepare(connection)
        except NoIndexError as error:
            self._set(None, str(error))
        except (*FAILURES, RagridError) as error:
            self._set(None, f"the index could not be made ({error})")
        else:
            self._kept.clear()
            self._set(version, "")

    def lose(self, error: BaseException) -> None:
        """Hear that the index is not there any more; searches compare with all vectors until it is found again."""
        if self._version is None:
            return
        logger.warning("the index of vectors is gone; all are compared", extra={"reason": str(error)})
        self._set(None, f"the index is gone ({error})")
        self._look_again_s = 0.0

    async def bring_forward(self, *, prune: bool = False) -> int:
        """Put what came since into the index; return how many vectors that were. `prune` drops what is gone, too."""
        async with self._turn:
            added = 0
            async with self._pool.connection(None) as connection:
                models = await models_in_use(connection)
                tenants = await connection.fetch(statements.TENANTS, self._from_rows)
            for tenant, stamp, seq, is_large in tenants:
                if is_large and self._kept.get(tenant) != (stamp, seq):
                    some, is_whole = await self._bring_tenant(tenant, models)
                    added += some
                    if is_whole:
                        self._kept[tenant] = (stamp, seq)
                if prune and self._pruned.get(tenant) != (stamp, seq):
                    await self._prune(tenant)
                    self._pruned[tenant] = (stamp, seq)
            # After the vectors: an index is made much faster than it grows.
            async with self._pool.connection(None) as connection:
                self._indexed = await index_models(connection, models | await brought_models(connection))
            VECTOR_INDEX_ADDED.inc(added)
            return added

    async def _keep(self) -> None:
        """Keep the index for ever; what fails is tried again."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(PAUSE_S)
            try:
                if self._version is None:
                    if loop.time() >= self._look_again_s:
                        await self.look()
                    continue
                is_time = loop.time() >= self._next_prune_s
                await self.bring_forward(prune=is_time)
                if is_time:
                    self._next_prune_s = loop.time() + PRUNE_S
            except GONE as error:
                self.lose(error)
            except (*FAILURES, RagridError) as error:
                logger.warning("vectors are indexed later", extra={"reason": f"{type(error).__name__}: {error}"})
            except Exception:  # searches do without what is missing; the loop must live on
                logger.exception("vectors are indexed later")

    def _set(self, version: str | None, reason: str) -> None:
        before = self.state
        self._version, self._reason = version, reason
        VECTOR_INDEX.set(version is not None)
        if self.state != before:
            logger.info("how the nearest vectors are found", extra={"way": self.state})

    async def _bring_tenant(self, tenant: str, models: Mapping[int, int]) -> tuple[int, bool]:
        """Return how many vectors were added, and whether none is left, not even one that another replica takes."""
        added, is_whole = 0, True
        async with self._pool.connection(tenant) as connection:
            for namespace, brought in await connection.fetch(statements.NAMESPACES, tenant, self._from_rows):
                for model, dimension in {**models, **indexable(brought)}.items():
                    await connection.execute(statements.BEGIN, tenant, namespace, model)
                    while some := await _add(connection, (tenant, namespace, model), dimension):
                        added += some
                    is_whole = is_whole and some == 0
        return added, is_whole

    async def _prune(self, tenant: str) -> None:
        async with self._pool.connection(tenant) as connection:
            for (model,) in await connection.fetch(statements.PRUNED_MODELS, tenant):
                last, until = -1, 0
                while until != _ANY_POSITION:
                    found: int | None = await connection.fetchval(statements.PRUNE_TO, tenant, model, last, PRUNE_BATCH)
                    until = _ANY_POSITION if found is None else found
                    await connection.execute(statements.PRUNE, tenant, model, last, until)
                    last = until
            await connection.execute(statements.FORGET, tenant)


async def _add(connection: asyncpg.Connection, place: tuple[str, str, int], dimension: int) -> int | None:
    """Add the next vectors of a namespace; return how many, or None when another replica is about it."""
    async with connection.transaction():
        done: int | None = await connection.fetchval(statements.TAKE, *place)
        if done is None:
            return None
        rows: Sequence[asyncpg.Record] = await connection.fetch(statements.NEXT, *place, done, BATCH)
        if rows:
            members = unpack([row["vector"] for row in rows], dimension).ravel().tolist()
            columns = ([row["position"] for row in rows], [row["stamp"] for row in rows], members)
            await connection.execute(statements.keep_statement(dimension), *place, *columns)
            await connection.execute(statements.DONE, *place, rows[-1]["stamp"])
        return len(rows)
