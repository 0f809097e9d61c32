"""Vectors and their outbox in SQLite: what the embedding worker asks of the store."""

from collections.abc import Mapping, Sequence
from typing import Any

import apsw
import msgspec

from ragrid.services.memory.changes import Scope
from ragrid.services.memory.embedding.sources import models_in_use, models_of, searched_number
from ragrid.services.memory.embedding.text import digest_of, embedding_text
from ragrid.services.memory.model import EmbeddingStatus, Memory
from ragrid.services.memory.protocol.embeddings import (
    Due,
    Embedded,
    Models,
    Outbox,
    Refused,
    first_of,
    status_of,
)
from ragrid.services.memory.sqlite.connections import Connections
from ragrid.services.memory.sqlite.files import fetch
from ragrid.services.memory.sqlite.nearest import sources
from ragrid.services.memory.sqlite.vectors import DUE, MODEL_NUMBER, MODELS, OUTBOX, STATES
from ragrid.services.memory.sqlite.writing import embeddings as writing

_decode = msgspec.json.Decoder(Memory).decode


class SqliteEmbeddings(Connections):
    """See protocol/embeddings.py. One process owns the store, so nothing that is claimed needs a lease."""

    async def use_models(self, wanted: Sequence[str]) -> Models:
        """See Embeddings."""
        await self.writer.submit(lambda transaction: writing.use_models(transaction, wanted))
        return await self.models()

    async def models(self) -> Models:
        """See Embeddings."""
        return models_in_use(models_of(await self.in_pool(lambda reader: fetch(reader, MODELS))))

    async def fill_outbox(self, model: str, *, now_us: int, limit: int, after: int = 0) -> int | None:
        """See Embeddings."""
        position: int | None = await self.writer.submit(
            lambda transaction: writing.fill_outbox(transaction, model, now_us=now_us, limit=limit, after=after)
        )
        return position

    async def claim_texts(
        self,
        model: str,
        *,
        now_us: int,
        limit: int,
        characters: int,
        lease_us: int,  # noqa: ARG002 - one process alone works on this store
    ) -> tuple[Due, ...]:
        """See Embeddings."""

        def work(reader: apsw.Connection) -> tuple[Due, ...]:
            number = _number(reader, model)
            rows = [] if number is None else fetch(reader, DUE, (number, now_us, limit))
            return first_of((_due(*row) for row in rows), characters)

        return await self.in_pool(work)

    async def store_vectors(self, model: str, embedded: Sequence[Embedded]) -> None:
        """See Embeddings."""
        await self.writer.submit(lambda transaction: writing.store_vectors(transaction, model, embedded))

    async def note_refusals(self, model: str, refused: Sequence[Refused]) -> None:
        """See Embeddings."""
        await self.writer.submit(lambda transaction: writing.note_refusals(transaction, model, refused))

    async def outbox(self, model: str) -> Outbox:
        """See Embeddings."""

        def work(reader: apsw.Connection) -> Outbox:
            number = _number(reader, model)
            return Outbox(0, 0, None) if number is None else Outbox(*fetch(reader, OUTBOX, (number,))[0])

        return await self.in_pool(work)

    async def embedding_states(self, scope: Scope, memory_ids: Sequence[str]) -> Mapping[str, EmbeddingStatus]:
        """See Embeddings."""
        wanted = msgspec.json.encode(memory_ids).decode()

        def work(reader: apsw.Connection) -> Sequence[Any]:
            namespace = self.number(reader, scope)
            room, models = (None, ()) if namespace is None else sources(reader, namespace)
            searched = None if room is None else searched_number(room, models)
            return [] if searched is None else fetch(reader, STATES, (searched, wanted, namespace))

        rows = await self.in_pool(work)
        return {memory_id: status_of(has_vector, is_given_up) for memory_id, has_vector, is_given_up in rows}

    async def retry_refused(self, model: str, *, tenant: str | None, now_us: int) -> int:
        """See Embeddings."""
        count: int = await self.writer.submit(
            lambda transaction: writing.retry_refused(transaction, model, tenant=tenant, now_us=now_us)
        )
        return count

    async def switch_model(self, name: str) -> bool:
        """See Embeddings."""
        is_active: bool = await self.writer.submit(lambda transaction: writing.switch_model(transaction, name))
        return is_active

    async def drop_vectors(self, *, limit: int) -> bool:
        """See Embeddings."""
        may_be_more: bool = await self.writer.submit(
            lambda transaction: writing.drop_vectors(transaction, limit=limit), makes_room=True
        )
        return may_be_more


def _number(reader: apsw.Connection, model: str) -> int | None:
    rows = fetch(reader, MODEL_NUMBER, (model,))
    return rows[0][0] if rows else None


def _due(position: int, since_us: int, attempts: int, doc: bytes) -> Due:
    text = embedding_text(_decode(doc))
    return Due(position, digest_of(text), since_us, attempts, text)
