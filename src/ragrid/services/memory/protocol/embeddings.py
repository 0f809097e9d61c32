"""Vectors and the outbox that leads to them. A change and its line in the outbox are durable together or not at all."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from ragrid.inference.embedder import FloatArray
from ragrid.services.memory.changes import Scope
from ragrid.services.memory.model import EmbeddingStatus


def status_of(has_vector: object, is_given_up: object) -> EmbeddingStatus:
    """Return what a memory's vector and its line in the outbox say; None stands for no line."""
    if is_given_up is not None:
        return "failed" if is_given_up else "pending"
    return "ready" if has_vector else "none"


class Due(msgspec.Struct, frozen=True):
    """One text that waits for its vector since `since_us`; `digest` tells it from a later one of the same memory."""

    position: int
    digest: bytes
    since_us: int
    attempts: int
    text: str


class Embedded(msgspec.Struct, frozen=True):
    """The vector of a text, of length 1; None for a text that has none."""

    position: int
    digest: bytes
    vector: FloatArray | None


class Refused(msgspec.Struct, frozen=True):
    """A text that the embedder would not take; tried again at `retry_us`, or given up."""

    position: int
    digest: bytes
    reason: str
    retry_us: int | None


class Outbox(msgspec.Struct, frozen=True):
    """What waits for vectors of one model; `oldest_us` is when the oldest of it was written."""

    waiting: int
    given_up: int
    oldest_us: int | None


class Model(msgspec.Struct, frozen=True):
    """A model whose vectors the store keeps; its dimension is fixed by its first vector."""

    name: str
    dimension: int | None


class Models(msgspec.Struct, frozen=True):
    """The model that searches use, and the one whose vectors are filled in beside it, to take its place."""

    active: Model | None
    filling: Model | None


class Embeddings(Protocol):
    """The vectors of memories, by model; vectors of two models never meet."""

    async def use_models(self, wanted: Sequence[str]) -> Models:
        """Say which models there are embedders for: the one in use first, then the one to come, if any.

        The first becomes active unless the second has taken its place before. A model that is no longer wanted is
        dropped, vectors and all.
        """
        ...

    async def models(self) -> Models:
        """Return what is in use."""
        ...

    async def fill_outbox(self, model: str, *, now_us: int, limit: int, after: int = 0) -> int | None:
        """Put memories behind position `after` that lack a vector of `model` into the outbox, looking at `limit`.

        Returns the position to go on behind, None at the end.
        """
        ...

    async def claim_texts(
        self, model: str, *, now_us: int, limit: int, characters: int, lease_us: int
    ) -> tuple[Due, ...]:
        """Return the oldest texts that are due: one, and more while they have `characters` together.

        Where several processes work on one store, nobody else gets them for `lease_us`.
        """
        ...

    async def store_vectors(self, model: str, embedded: Sequence[Embedded]) -> None:
        """Keep vectors and take their texts from the outbox, durable on return; texts that changed since stay in it.

        Raises RagridError when a vector has not the dimension of the model.
        """
        ...

    async def note_refusals(self, model: str, refused: Sequence[Refused]) -> None:
        """Write down what was refused, durable on return."""
        ...

    async def outbox(self, model: str) -> Outbox:
        """Return how much waits."""
        ...

    async def embedding_states(self, scope: Scope, memory_ids: Sequence[str]) -> Mapping[str, EmbeddingStatus]:
        """Return for memories that `scope` may see whether searches have their vectors, in the model in use."""
        ...

    async def retry_refused(self, model: str, *, tenant: str | None, now_us: int) -> int:
        """Make what was given up due again, of one tenant or of all, and return how many that were."""
        ...

    async def switch_model(self, name: str) -> bool:
        """Let searches use the model that was filled in, once nothing waits for it; tell whether it is in use."""
        ...

    async def drop_vectors(self, *, limit: int) -> bool:
        """Delete up to `limit` vectors of models that were dropped; tell whether there may be more."""
        ...


def first_of(due: Iterable[Due], characters: int) -> tuple[Due, ...]:
    """Return one text, and more while they have `characters` together."""
    taken: list[Due] = []
    room = characters
    for one in due:
        room -= len(one.text)
        if taken and room < 0:
            break
        taken.append(one)
    return tuple(taken)
