"""What keeps a store in order, and tells how it is."""

from typing import Protocol

import msgspec


class Stats(msgspec.Struct, frozen=True):
    """How much the store holds; `rows` counts memories that are neither deleted nor swept.

    `nearest` says how searches find the nearest vectors, where the store has more than one way.
    """

    rows: int
    size_bytes: int
    nearest: str | None = None


class Upkeep(Protocol):
    """The store as the one who runs it sees it."""

    async def sweep(self, *, now_us: int, limit: int) -> int:
        """Erase up to `limit` expired memories, old idempotency keys, and rows of deleted namespaces.

        Returns `limit` while there may be more to do, else how many memories that were.
        """
        ...

    async def probe(self) -> None:
        """Read the store and pass once through its writer. Raises StoreBrokenError when either fails."""
        ...

    async def stats(self) -> Stats:
        """Return how much the store holds."""
        ...

    async def close(self) -> None:
        """Finish what was accepted, then let go of files and threads."""
        ...
