"""Vectors and their outbox, in dictionaries."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from ragrid.errors import RagridError
from ragrid.inference.embedder import FloatArray
from ragrid.services.memory.changes import Scope, Version
from ragrid.services.memory.embedding.matrix import STORED, pack
from ragrid.services.memory.embedding.models import ModelState, dimension_of, states_of
from ragrid.services.memory.embedding.text import digest_of, embedding_text
from ragrid.services.memory.model import EmbeddingStatus
from ragrid.services.memory.protocol.embeddings import (
    Due,
    Embedded,
    Model,
    Models,
    Outbox,
    Refused,
    first_of,
    status_of,
)

if TYPE_CHECKING:
    from ragrid.services.memory.inmemory.state import Row


class Waiting(msgspec.Struct, frozen=True):
    """One line of the outbox."""

    scope: Scope
    digest: bytes
    text: str
    since_us: int
    next_us: int
    attempts: int = 0
    is_given_up: bool = False


class Vector(msgspec.Struct, frozen=True):
    """One vector, rounded as a store keeps it."""

    digest: bytes
    values: FloatArray


class EmbeddingTables:
    """Outbox and vectors by position and model; they follow every version that is written."""

    def __init__(self) -> None:
        self.states: dict[str, ModelState] = {}
        self.dimensions: dict[str, int | None] = {}
        self.outbox: dict[tuple[int, str], Waiting] = {}
        self.vectors: dict[tuple[int, str], Vector] = {}
        #: The text of each live memory, by position.
        self.texts: dict[int, tuple[Scope, str]] = {}

    def note(self, scope: Scope, version: Version) -> None:
        """Let outbox and vectors follow one version; a text that did not change keeps its vectors."""
        position = version.position
        if version.memory is None:
            self.texts.pop(position, None)
            for table in (self.outbox, self.vectors):
                for key in [key for key in table if key[0] == position]:
                    del table[key]
            return
        text = embedding_text(version.memory)
        self.texts[position] = (scope, text)
        brought = version.embedding
        if brought is not None and not self.in_use:
            self.states[brought.model], self.dimensions[brought.model] = "given", len(brought.values)
        for name, state in self.states.items():
            key = (position, name)
            if brought is not None and brought.model == name:
                self.outbox.pop(key, None)
                self.vectors[key] = Vector(digest_of(text), brought.direction.astype(STORED).astype(np.float32))
                continue
            held = self.vectors.get(key)
            if held is not None and held.digest == digest_of(text):
                continue
            self.vectors.pop(key, None)
            self.outbox.pop(key, None)
            if text and state in {"active", "filling"}:
                self.outbox[key] = Waiting(scope, digest_of(text), text, version.at_us, version.at_us)

    def brought(self, position: int) -> tuple[str, bytes] | None:
        """Return model and stored bytes of a vector that a caller brought, where nothing else makes vectors."""
        held = None if self.given is None else self.vectors.get((position, self.given))
        return None if self.given is None or held is None else (self.given, pack(held.values))

    @property
    def given(self) -> str | None:
        """The model whose vectors come from callers alone."""
        return next((name for name, state in self.states.items() if state == "given"), None)

    @property
    def in_use(self) -> dict[str, int | None]:
        """The dimensions of the models in use, by name."""
        used = ("active", "given", "filling")
        return {name: self.dimensions.get(name) for name, state in self.states.items() if state in used}

    def drop(self, scope: Scope) -> None:
        """Forget all that belongs to a namespace."""
        gone = {position for position, (owner, _) in self.texts.items() if owner == scope}
        self.texts = {position: one for position, one in self.texts.items() if position not in gone}
        self.outbox = {key: one for key, one in self.outbox.items() if key[0] not in gone}
        self.vectors = {key: one for key, one in self.vectors.items() if key[0] not in gone}

    def of(self, name: str) -> list[tuple[tuple[int, str], Waiting]]:
        """Return what waits for a model, the oldest first."""
        lines = [(key, line) for key, line in self.outbox.items() if key[1] == name]
        return sorted(lines, key=lambda one: (one[1].since_us, one[0]))

    def require(self, name: str) -> None:
        """Raise RagridError for a model that is not there."""
        if name not in self.states:
            raise RagridError(f"no model {name!r} in the store; it was taken out of the settings")


class InMemoryEmbeddings:
    """See protocol/embeddings.py."""

    embeddings: EmbeddingTables
    rows: "dict[tuple[Scope, str], Row]"

    async def use_models(self, wanted: Sequence[str]) -> Models:
        """See Embeddings."""
        tables = self.embeddings
        before = {**dict.fromkeys(wanted, "filling"), **tables.states}
        tables.states = states_of(before, wanted)
        for key in list(tables.outbox):
            if tables.states[key[1]] not in {"active", "filling"}:
                del tables.outbox[key]
        return await self.models()

    async def models(self) -> Models:
        """See Embeddings."""
        by_state = {state: Model(name, self.embeddings.dimensions.get(name)) for name, state in self._states()}
        return Models(by_state.get("active") or by_state.get("given"), by_state.get("filling"))

    async def fill_outbox(self, model: str, *, now_us: int, limit: int, after: int = 0) -> int | None:
        """See Embeddings."""
        tables = self.embeddings
        positions = sorted(position for position in tables.texts if position > after)
        for position in positions[:limit]:
            scope, text = tables.texts[position]
            key = (position, model)
            if text and key not in tables.vectors and key not in tables.outbox:
                tables.outbox[key] = Waiting(scope, digest_of(text), text, now_us, now_us)
        return positions[limit - 1] if len(positions) >= limit else None

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
        due = [
            Due(key[0], line.digest, line.since_us, line.attempts, line.text)
            for key, line in self.embeddings.of(model)
            if not line.is_given_up and line.next_us <= now_us
        ]
        return first_of(due[:limit], characters)

    async def store_vectors(self, model: str, embedded: Sequence[Embedded]) -> None:
        """See Embeddings."""
        tables = self.embeddings
        tables.require(model)
        tables.dimensions[model] = dimension_of(model, embedded, tables.dimensions.get(model))
        for one in embedded:
            key = (one.position, model)
            line = tables.outbox.get(key)
            if line is None or line.digest != one.digest:
                continue
            del tables.outbox[key]
            if one.vector is not None:
                tables.vectors[key] = Vector(one.digest, one.vector.astype(STORED).astype(np.float32))

    async def note_refusals(self, model: str, refused: Sequence[Refused]) -> None:
        """See Embeddings."""
        for one in refused:
            key = (one.position, model)
            line = self.embeddings.outbox.get(key)
            if line is not None and line.digest == one.digest:
                self.embeddings.outbox[key] = msgspec.structs.replace(
                    line,
                    attempts=line.attempts + 1,
                    next_us=one.retry_us or 0,
                    is_given_up=one.retry_us is None,
                )

    async def outbox(self, model: str) -> Outbox:
        """See Embeddings."""
        lines = [line for _, line in self.embeddings.of(model)]
        waiting = [line.since_us for line in lines if not line.is_given_up]
        return Outbox(len(waiting), len(lines) - len(waiting), min(waiting, default=None))

    async def embedding_states(self, scope: Scope, memory_ids: Sequence[str]) -> Mapping[str, EmbeddingStatus]:
        """See Embeddings."""
        tables = self.embeddings
        name = next((name for name, state in self._states() if state in {"active", "given"}), None)
        if name is None:
            return {}
        keys = {
            one: (row.stored.position, name)
            for one in memory_ids
            if (row := self.rows.get((scope, one))) is not None and not row.stored.is_deleted
        }
        lines = {one: tables.outbox.get(key) for one, key in keys.items()}
        return {
            one: status_of(key in tables.vectors, None if (line := lines[one]) is None else line.is_given_up)
            for one, key in keys.items()
        }

    async def retry_refused(self, model: str, *, tenant: str | None, now_us: int) -> int:
        """See Embeddings."""
        again = [
            (key, line)
            for key, line in self.embeddings.of(model)
            if line.is_given_up and tenant in (None, line.scope.tenant)
        ]
        for key, line in again:
            self.embeddings.outbox[key] = msgspec.structs.replace(line, attempts=0, next_us=now_us, is_given_up=False)
        return len(again)

    async def switch_model(self, name: str) -> bool:
        """See Embeddings."""
        tables = self.embeddings
        tables.require(name)
        waits = any(not line.is_given_up for _, line in tables.of(name))
        if tables.states[name] != "filling" or waits:
            return tables.states[name] == "active"
        for other, state in self._states():
            if state == "active":
                tables.states[other] = "replaced"
                for key in [key for key in tables.outbox if key[1] == other]:
                    del tables.outbox[key]
        tables.states[name] = "active"
        return True

    async def drop_vectors(self, *, limit: int) -> bool:
        """See Embeddings."""
        tables = self.embeddings
        dropped = next((name for name, state in self._states() if state == "dropped"), None)
        if dropped is None:
            return False
        keys = [key for key in tables.vectors if key[1] == dropped]
        for key in keys[:limit]:
            del tables.vectors[key]
        if len(keys) < limit:
            del tables.states[dropped]
            tables.dimensions.pop(dropped, None)
        return True

    def _states(self) -> list[tuple[str, ModelState]]:
        return list(self.embeddings.states.items())
