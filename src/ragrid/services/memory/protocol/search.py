"""Searching: what a store finds for a question."""

from typing import Protocol

import msgspec

from ragrid.inference.embedder import FloatArray
from ragrid.services.memory.changes import Scope
from ragrid.services.memory.namespaces import Embedder
from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.ranking.fusion import PLAIN, Explanation, Ranking


class QueryVector(msgspec.Struct, frozen=True):
    """A question as a vector of length 1, and the model that made it."""

    model: str
    values: FloatArray


class Hit(msgspec.Struct, frozen=True):
    """One result of a search; `score` is above 0 and at most 1.

    For words alone it is relative to the best, on purpose: how rare a word is, is counted over the whole store, and a
    plain score would tell one tenant about the words of the others.
    """

    score: float
    doc: bytes
    explanation: Explanation = Explanation()


class Search(Protocol):
    """Finds memories by what they say; a filter is kept before anything is ranked."""

    async def search(
        self,
        scope: Scope,
        query: tuple[str, ...],
        wanted: Filter,
        *,
        now_us: int,
        limit: int,
        vector: QueryVector | None = None,
        ranking: Ranking = PLAIN,
    ) -> tuple[Hit, ...]:
        """Return the best `limit` of the memories that match `wanted`, best first.

        With words alone: those that hold any of them. With a vector alone: those nearest to it. With both: of the best
        of either (`pool_size`), fused. A memory has no vector until the outbox has made one.
        """
        ...

    async def embedder_of(self, scope: Scope) -> Embedder:
        """Return what a namespace says about where its vectors come from."""
        ...

    async def past_documents(self, scope: Scope, *, as_of_us: int, now_us: int, limit: int) -> tuple[bytes, ...]:
        """Return up to `limit` memories as they were at `as_of_us`, of those whose contents may be seen now."""
        ...
