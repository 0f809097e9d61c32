"""Where the event loop hands work to the one thread that owns the store."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from ragrid.errors import UnreachableError

P = ParamSpec("P")
R = TypeVar("R")

#: Calls that may wait for the store at once; one takes about a millisecond, so more than this is an overload.
WAITING_LIMIT = 512


class Desk:
    """Runs calls one after another in a thread of its own, so that a slow disk never stops the event loop."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._waiting = 0
        self._ended: asyncio.Future[None] | None = None

    async def do(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what `work` returns; raises UnreachableError at once when too many calls wait already."""
        if self._waiting >= WAITING_LIMIT:
            raise UnreachableError("the token store has too much to do; try again in a second")
        self._waiting += 1
        try:
            return await asyncio.wrap_future(self._thread.submit(work, *args, **kwargs))
        finally:
            self._waiting -= 1
            if self._ended is not None and not self._ended.done():
                self._ended.set_result(None)

    async def next_call(self) -> None:
        """Return once another call has ended, whoever made it: whatever changes does so in one."""
        if self._ended is None or self._ended.done():
            self._ended = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._ended)

    def close(self) -> None:
        """End the thread once the calls under way are done."""
        self._thread.shutdown(wait=True, cancel_futures=True)
