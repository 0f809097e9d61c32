"""Several changes in one request."""

from collections.abc import Sequence
from typing import Protocol

from ragrid.errors import RagridError
from ragrid.services.memory.changes import Change
from ragrid.services.memory.protocol.memories import Written

#: What came of each change, in order; None: it was not tried, because one before it was refused.
Results = tuple[Written | RagridError | None, ...]


class Batches(Protocol):
    """Carries out several changes at once."""

    async def change_all(self, changes: Sequence[Change], *, is_atomic: bool) -> Results:
        """Carry out `changes` in order, each seeing those before it; return once they are durable, in one commit.

        An atomic batch is carried out whole or not at all: when any result is an error, nothing was written. In the
        other kind each change succeeds or is refused by itself. Raises StoreBusyError, StoreFullError.
        """
        ...
