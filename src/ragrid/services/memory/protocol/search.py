"""Searching: what a store finds for a question."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from ragrid.services.memory.changes import Scope
from ragrid.services.memory.protocol.memories import Filter


class Hit(msgspec.Struct, frozen=True):
    """One result of a search; `score` is above 0, and 1 for the best.

    It is relative to the best on purpose: how rare a word is, is counted over the whole store, and a plain score
    would tell one tenant about the words of the others.
    """

    score: float
    doc: bytes


class Search(Protocol):
    """Finds memories by what they say; a filter is kept before anything is ranked."""

    async def search(
        self, scope: Scope, query: tuple[str, ...], wanted: Filter, *, now_us: int, limit: int
    ) -> tuple[Hit, ...]:
        """Return the best `limit` of the memories that match `wanted` and hold any word of `query`, best first."""
        ...


def hits_of(ranked: Sequence[tuple[float, bytes]]) -> tuple[Hit, ...]:
    """Return the hits for `(score, doc)` pairs, best first, with scores relative to the best."""
    return tuple(Hit(score / ranked[0][0], doc) for score, doc in ranked)
