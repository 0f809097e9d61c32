"""Vectors and their outbox in PostgreSQL: what the embedding workers of all replicas ask of the store."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import asyncpg
import msgspec
import numpy as np

from ragrid.errors import RagridError
from ragrid.services.memory.changes import Scope
from ragrid.services.memory.embedding.matrix import pack
from ragrid.services.memory.embedding.models import dimension_of, states_of
from ragrid.services.memory.embedding.sources import models_in_use, models_of, searched_number
from ragrid.services.memory.embedding.text import digest_of, embedding_text
from ragrid.services.memory.model import EmbeddingStatus, Memory
from ragrid.services.memory.postgresql import vectors
from ragrid.services.memory.postgresql.connections import Connections
from ragrid.services.memory.postgresql.lanes import Job
from ragrid.services.memory.postgresql.search import sources
from ragrid.services.memory.postgresql.transaction import Transaction
from ragrid.services.memory.protocol.embeddings import (
    Due,
    Embedded,
    Models,
    Outbox,
    Refused,
    first_of,
    status_of,
)

_decode = msgspec.json.Decoder(Memory).decode
#: In what `fill_outbox` returns, the tenant's number stands above the position.
_POSITION_BITS = 48
_ANY_POSITION = 2**62


class PostgresEmbeddings(Connections):
    """See protocol/embeddings.py. What is called a position there is the number of a line of the outbox here."""

    async def use_models(self, wanted: Sequence[str]) -> Models:
        """See Embeddings."""
        async with self.pool.reader(None) as connection, connection.transaction():
            await connection.execute(vectors.LOCK_MODELS)
            for name in wanted:
                await connection.execute(vectors.ADD_MODEL, name)
            before = {row["name"]: row["state"] for row in await connection.fetch(vectors.STATES)}
            for one in states_of(before, wanted).items():
                await connection.execute(vectors.SET_STATE, *one)
            await connection.execute(vectors.CLEAR_IDLE)
        return await self.models()

    async def models(self) -> Models:
        """See Embeddings."""
        return models_in_use(models_of(await self.rows("", vectors.MODELS)))

    async def fill_outbox(self, model: str, *, now_us: int, limit: int, after: int = 0) -> int | None:
        """See Embeddings. Each tenant is filled under its lock: what is written meanwhile knows the model already."""
        number, _ = await self._model(model)
        first, position = after >> _POSITION_BITS, after & (1 << _POSITION_BITS) - 1
        for _ in range(limit):
            found = await self.rows("", vectors.NEXT_TENANT, first)
            if not found:
                return None
            tenant: str = found[0]["tenant"]
            tenant_number: int = found[0]["number"]
            behind = position if tenant_number == first else 0

            async def work(transaction: Transaction, tenant: str = tenant, behind: int = behind) -> int | None:
                connection = transaction.connection
                seen: list[asyncpg.Record] = await connection.fetch(vectors.SEEN, tenant, behind, limit - 1)
                until: int = seen[0]["position"] if seen else _ANY_POSITION
                await connection.execute(vectors.LACKING, tenant, number, now_us, behind, until)
                return until if seen else None

            last: int | None = await self.writer.submit(tenant, Job(work))
            if last is not None:
                return tenant_number << _POSITION_BITS | last
            first = tenant_number + 1
        return first << _POSITION_BITS

    async def claim_texts(
        self, model: str, *, now_us: int, limit: int, characters: int, lease_us: int
    ) -> tuple[Due, ...]:
        """See Embeddings."""
        found = await self._find_model(model)
        if found is None:
            return ()
        claimed = sorted(
            await self.rows("", vectors.CLAIM, found[0], now_us, lease_us, limit),
            key=lambda row: (row["since_us"], row["number"]),
        )
        docs = await self._documents(claimed)
        due = first_of(
            (_due(row, docs[row["number"]]) for row in claimed if row["number"] in docs),
            characters,
        )
        taken = {one.position for one in due}
        rest = [row["number"] for row in claimed if row["number"] not in taken]
        if rest:
            await self.rows("", vectors.RELEASE, rest, now_us)
        return due

    async def store_vectors(self, model: str, embedded: Sequence[Embedded]) -> None:
        """See Embeddings."""
        number, dimension = await self._model(model)
        made = dimension_of(model, embedded, dimension)
        if made != dimension:
            await self.rows("", vectors.SET_DIMENSION, number, made)
            dimension_of(model, embedded, (await self._model(model))[1])  # another replica may have been first
        lines = {one.position: one for one in embedded}
        whose: defaultdict[str, list[Embedded]] = defaultdict(list)
        for line, tenant in await self.rows("", vectors.WHOSE, number, list(lines)):
            whose[tenant].append(lines[line])
        for tenant, some in sorted(whose.items()):

            async def work(transaction: Transaction, some: Sequence[Embedded] = some) -> None:
                await _keep(transaction, number, some)

            await self.writer.submit(tenant, Job(work))

    async def note_refusals(self, model: str, refused: Sequence[Refused]) -> None:
        """See Embeddings."""
        number, _ = await self._model(model)
        reasons = [one.reason[:500].replace("\0", " ") for one in refused]
        columns = ([one.position for one in refused], [one.digest for one in refused], reasons)
        await self.rows("", vectors.REFUSED, number, *columns, [one.retry_us for one in refused])

    async def outbox(self, model: str) -> Outbox:
        """See Embeddings."""
        found = await self._find_model(model)
        return Outbox(0, 0, None) if found is None else Outbox(*(await self.rows("", vectors.OUTBOX, found[0]))[0])

    async def embedding_states(self, scope: Scope, memory_ids: Sequence[str]) -> Mapping[str, EmbeddingStatus]:
        """See Embeddings."""
        async with self.pool.reader(scope.tenant) as connection:
            room, models = await sources(connection, scope)
            number = searched_number(room, models)
            asked = (scope.tenant, scope.namespace, list(memory_ids), number)
            rows = [] if number is None else await connection.fetch(vectors.EMBEDDING_STATES, *asked)
        return {memory_id: status_of(has_vector, is_given_up) for memory_id, has_vector, is_given_up in rows}

    async def retry_refused(self, model: str, *, tenant: str | None, now_us: int) -> int:
        """See Embeddings."""
        number, _ = await self._model(model)
        return len(await self.rows("", vectors.RETRY + " RETURNING number", number, now_us, tenant))

    async def switch_model(self, name: str) -> bool:
        """See Embeddings."""
        number, _ = await self._model(name)
        async with self.pool.reader(None) as connection, connection.transaction():
            await connection.execute(vectors.LOCK_MODELS)
            state = await connection.fetchval(vectors.STATE, number)
            if state != "filling" or await connection.fetch(vectors.STILL_WAITING, number):
                return bool(state == "active")
            await connection.execute(vectors.TAKE_OVER, number)
            await connection.execute(vectors.CLEAR_IDLE)
        return True

    async def drop_vectors(self, *, limit: int) -> bool:
        """See Embeddings. Tenant after tenant: no statement sees the vectors of two."""
        dropped = await self.rows("", vectors.DROPPED)
        if not dropped:
            return False
        number, first = dropped[0]
        room = limit
        while room > 0:
            found = await self.rows("", vectors.NEXT_TENANT, first)
            if not found:
                await self.rows("", vectors.FORGET_MODEL, number)
                return True
            tenant, tenant_number = found[0]
            gone = len(await self.rows(tenant, vectors.DROP + " RETURNING position", tenant, number, room))
            if gone < room:
                first = tenant_number + 1
                await self.rows("", vectors.DROPPED_TO, number, first)
            room -= max(1, gone)
        return True

    async def _find_model(self, name: str) -> tuple[int, int | None] | None:
        rows = await self.rows("", vectors.MODEL, name)
        return (rows[0][0], rows[0][1]) if rows else None

    async def _model(self, name: str) -> tuple[int, int | None]:
        found = await self._find_model(name)
        if found is None:
            raise RagridError(f"no model {name!r} in the store; it was taken out of the settings")
        return found

    async def _documents(self, lines: Sequence[asyncpg.Record]) -> dict[int, bytes]:
        """Return the documents of lines of the outbox, each read as its tenant."""
        found: dict[int, bytes] = {}
        for tenant in sorted({row["tenant"] for row in lines}):
            numbers = {row["position"]: row["number"] for row in lines if row["tenant"] == tenant}
            for position, doc in await self.rows(tenant, vectors.DOCUMENTS, tenant, list(numbers)):
                if doc:
                    found[numbers[position]] = doc
        return found


async def _keep(transaction: Transaction, model: int, embedded: Sequence[Embedded]) -> None:
    """Keep the vectors of one tenant's texts that still wait for them, and take those from the outbox."""
    connection, tenant = transaction.connection, transaction.workspace.tenant
    lines = {one.position: one for one in embedded}
    digests = [one.digest for one in lines.values()]
    waiting = await connection.fetch(vectors.WAITING, tenant, model, list(lines), digests)
    made = [(row, lines[row["number"]]) for row in waiting]
    kept = [(row, one.digest, pack(one.vector)) for row, one in made if one.vector is not None]
    if kept:
        last: int = await connection.fetchval(vectors.STAMPS, tenant, len(kept))
        stamps = np.arange(last - len(kept) + 1, last + 1).tolist()
        places = ([row["position"] for row, _, _ in kept], [row["namespace"] for row, _, _ in kept])
        columns = ([digest for _, digest, _ in kept], stamps, [vector for _, _, vector in kept])
        await connection.execute(vectors.KEEP, tenant, model, *places, *columns)
    await connection.execute(vectors.LEAVE, tenant, [row["number"] for row in waiting])


def _due(row: asyncpg.Record, doc: bytes) -> Due:
    text = embedding_text(_decode(doc))
    return Due(row["number"], digest_of(text), row["since_us"], row["attempts"], text)
