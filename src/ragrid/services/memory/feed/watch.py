"""Wakes whoever waits for the changes of a namespace when one was committed; nobody asks the database in turns."""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator

from ragrid.services.memory.changes import Scope
from ragrid.services.memory.errors import StoreBusyError

#: Clients that may wait at once, over all namespaces of the process.
WATCHERS = 2000


class Watch:
    """One waiting client. A change between its making and `changed` is never missed."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def wake(self) -> None:
        """Say that something was committed."""
        self._event.set()

    def rearm(self) -> None:
        """Forget what was said so far: call it before the store is read, never after."""
        self._event.clear()

    async def changed(self) -> None:
        """Wait until something was committed since the last `rearm`."""
        await self._event.wait()


class Watches:
    """The waiting clients of one store, by namespace. For one event loop."""

    def __init__(self, *, limit: int = WATCHERS) -> None:
        self._limit = limit
        self._waiting: dict[Scope, set[Watch]] = {}
        self._count = 0
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """Nobody is to wait any more: the service stops."""
        return self._is_closed

    def __len__(self) -> int:
        return self._count

    @contextlib.contextmanager
    def watch(self, scope: Scope) -> Iterator[Watch]:
        """Let somebody wait for changes of `scope`. Raises StoreBusyError when too many do."""
        if self._count >= self._limit:
            raise StoreBusyError(f"{self._count} clients wait for changes, wanted under {self._limit}; try again soon")
        one = Watch()
        self._waiting.setdefault(scope, set()).add(one)
        self._count += 1
        try:
            yield one
        finally:
            self._count -= 1
            watches = self._waiting[scope]
            watches.discard(one)
            if not watches:
                del self._waiting[scope]

    def changed(self, scopes: Iterable[Scope]) -> None:
        """Wake whoever waits for one of `scopes`; to be called after the commit, on the loop."""
        if not self._waiting:
            return
        for scope in scopes:
            for one in self._waiting.get(scope, ()):
                one.wake()

    def close(self) -> None:
        """Let nobody wait any more; those who do are woken."""
        self._is_closed = True
        self.wake_everybody()

    def wake_everybody(self) -> None:
        """Wake all: something may have been missed."""
        for watches in self._waiting.values():
            for one in watches:
                one.wake()
