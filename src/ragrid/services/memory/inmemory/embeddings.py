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
from ragrid.services.memory.embedding.sources import Turn, is_brought, number_brought, source_of
from ragrid.services.memory.embedding.text import digest_of, embedding_text
from ragrid.services.memory.model import EmbeddingStatus
from ragrid.services.memory.namespaces import EMPTY, Embedder, Namespace, Room
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
from ragrid.services.memory.protocol.search import QueryVector

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


#: Stands for the model of vectors that callers brought; which one that is, the namespace says.
BROUGHT = ""


class EmbeddingTables:
    """Outbox and vectors by position and model; they follow every version that is written."""

    def __init__(self) -> None:
        self.states: dict[str, ModelState] = {}
        self.dimensions: dict[str, int | None] = {}
        self.outbox: dict[tuple[int, str], Waiting] = {}
        self.vectors: dict[tuple[int, str], Vector] = {}
        #: The text of each live memory, by position.
        self.texts: dict[int, tuple[Scope, str]] = {}

    def note(self, scope: Scope, room: Room, version: Version) -> None:
        """Let outbox and vectors follow one version; a text that did not change keeps its vectors."""
        position = version.position
        if version.memory is None:
            self.texts.pop(position, None)
            for table in (self.outbox, self.vectors):
                for key in [key for key in table if key[0] == position]:
                    del table[key]
            return
        text = embedding_text(version.memory)
        digest = digest_of(text)
        self.texts[position] = (scope, text)
        for key in [key for key, held in self.vectors.items() if key[0] == position and held.digest != digest]:
            del self.vectors[key]
        if version.embedding is not None:
            key = (position, BROUGHT if version.is_brought else version.embedding.model)
            self.vectors[key] = Vector(digest, version.embedding.direction.astype(STORED).astype(np.float32))
        for name in self._wanted(room.settings.embedder):
            key = (position, name)
            if key in self.vectors:
                if version.embedding is not None and version.embedding.model == name:
                    self.outbox.pop(key, None)
                continue
            self.outbox.pop(key, None)
            if text:
                self.outbox[key] = Waiting(scope, digest, text, version.at_us, version.at_us)

    def follow_settings(self, scope: Scope, turn: Turn, now_us: int) -> None:
        """Let outbox and vectors follow a setting that was changed."""
        mine = {position for position, (owner, _) in self.texts.items() if owner == scope}
        if not turn.keeps_made:
            self.outbox = {key: one for key, one in self.outbox.items() if key[0] not in mine}
        kept = (turn.keeps_made, turn.keeps_brought)
        self.vectors = {key: one for key, one in self.vectors.items() if key[0] not in mine or kept[key[1] == BROUGHT]}
        for name in self._wanted("grid") if turn.is_filled else ():
            self.fill(name, sorted(mine), now_us)

    def fill(self, name: str, positions: Sequence[int], now_us: int) -> None:
        """Put the texts among `positions` that lack a vector into the outbox."""
        for position in positions:
            scope, text = self.texts[position]
            key = (position, name)
            if text and key not in self.vectors and key not in self.outbox:
                self.outbox[key] = Waiting(scope, digest_of(text), text, now_us, now_us)

    def carried(self, room: Room, position: int) -> tuple[str, bytes] | None:
        """Return model and stored bytes of a vector that an export carries: no embedder could make it anew."""
        key, model = (position, BROUGHT), None if room.brought is None else room.brought.model
        if not is_brought(room, self.in_use):
            model = next((name for name, state in self.states.items() if state == "kept"), None)
            model = model if room.settings.embedder == "grid" else None
            key = (position, model or BROUGHT)
        held = None if model is None else self.vectors.get(key)
        return None if model is None or held is None else (model, pack(held.values))

    def searched(self, room: Room) -> str | None:
        """Return the table of the vectors that searches of a namespace use."""
        source = source_of(room.settings.embedder, has_models=bool(self.in_use))
        if source == "grid":
            return next((name for name, state in self.states.items() if state in {"active", "kept"}), None)
        return BROUGHT if source == "given" and room.brought is not None else None

    def asked(self, room: Room, vector: QueryVector) -> str | None:
        """Return the table of a namespace's vectors of the model that a question has."""
        source = source_of(room.settings.embedder, has_models=bool(self.in_use))
        if source == "given":
            return None if number_brought(room, vector.model, len(vector.values)) is None else BROUGHT
        return vector.model if source == "grid" else None

    def _wanted(self, setting: Embedder) -> list[str]:
        if setting != "grid":
            return []
        return [name for name, state in self.states.items() if state in {"active", "filling"}]

    @property
    def in_use(self) -> dict[str, int | None]:
        """The dimensions of the models in use, by name."""
        used = ("active", "kept", "filling")
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
    spaces: dict[Scope, Namespace]

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
        return Models(by_state.get("active") or by_state.get("kept"), by_state.get("filling"))

    async def fill_outbox(self, model: str, *, now_us: int, limit: int, after: int = 0) -> int | None:
        """See Embeddings."""
        tables = self.embeddings
        positions = sorted(position for position in tables.texts if position > after)
        looked_at = positions[:limit]
        wanted = [one for one in looked_at if self._room(tables.texts[one][0]).settings.embedder == "grid"]
        tables.fill(model, wanted, now_us)
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
        name = tables.searched(self._room(scope))
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

    def _room(self, scope: Scope) -> Room:
        return self.spaces[scope].room if scope in self.spaces else EMPTY

    def _states(self) -> list[tuple[str, ModelState]]:
        return list(self.embeddings.states.items())
