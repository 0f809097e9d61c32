"""Forgetting by filter: what would go is counted first, and then only what was counted goes."""

from typing import Protocol

import msgspec

from ragrid.services.memory.changes import Scope
from ragrid.services.memory.protocol.memories import Filter


class Counted(msgspec.Struct, frozen=True):
    """How many memories match, and the last `seq` that the store had used by then."""

    count: int
    seq: int


class Forgetting(Protocol):
    """Finds what a filter matches, without its contents."""

    async def count(self, scope: Scope, wanted: Filter, *, now_us: int) -> Counted:
        """Count what `scope` may see now and `wanted` matches."""
        ...

    async def chosen(
        self, scope: Scope, wanted: Filter, *, now_us: int, up_to_seq: int, limit: int
    ) -> tuple[tuple[str, int], ...]:
        """Return id and version of up to `limit` matches that have not changed since `up_to_seq`."""
        ...
