"""What every facet of the SQLite store stands on: the writer, a reader for the event loop, and a few reader threads."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import apsw

from ragrid.errors import RagridError
from ragrid.services.memory.changes import Scope
from ragrid.services.memory.errors import StoreBrokenError
from ragrid.services.memory.sqlite.files import fetch, open_reader
from ragrid.services.memory.sqlite.queries import Statement
from ragrid.services.memory.sqlite.transaction import NAMESPACE, NAMESPACES_KEPT
from ragrid.services.memory.sqlite.writer import Writer

T = TypeVar("T")

#: Threads for lists, searches and histories.
READERS = 2


class Connections:
    """The connections to one store file; every facet works over one object of it."""

    def __init__(self, path: Path, writer: Writer, resources: contextlib.ExitStack) -> None:
        self.path = path
        self.writer = writer
        self._resources = resources
        self.reader = open_reader(path)
        resources.callback(self.reader.close)
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="memory-reader")
        self._thread_local = threading.local()
        self.numbers: dict[Scope, int] = {}
        self._numbers_lock = threading.Lock()
        self._forgotten = 0

    def number(self, reader: apsw.Connection, scope: Scope) -> int | None:
        """Return the number of a namespace; None before the first write into it."""
        known = self.numbers.get(scope)
        if known is not None:
            return known
        forgotten = self._forgotten
        rows = fetch(reader, NAMESPACE, (scope.tenant, scope.namespace))
        if not rows:
            return None
        number: int = rows[0][0]
        with self._numbers_lock:
            if len(self.numbers) >= NAMESPACES_KEPT:
                self.numbers.clear()
            if forgotten == self._forgotten:  # else it may have been deleted since it was read
                self.numbers[scope] = number
        return number

    def forget_number(self, scope: Scope) -> None:
        """Read the number of a namespace anew from now on: what it stood for was deleted."""
        with self._numbers_lock:
            self._forgotten += 1
            self.numbers.pop(scope, None)

    async def rows(self, scope: Scope, statement: Callable[[int], Statement]) -> Sequence[Any]:
        """Run one statement about a namespace on a reader thread; no rows before the first write into it."""

        def work(reader: apsw.Connection) -> Sequence[Any]:
            number = self.number(reader, scope)
            return [] if number is None else fetch(reader, *statement(number))

        return await self.in_pool(work)

    async def in_pool(self, work: Callable[[apsw.Connection], T]) -> T:
        """Run `work` on a reader thread. Raises StoreBrokenError when the disk fails or the store is closing."""

        def run() -> T:
            try:
                return work(self._own_reader())
            except apsw.Error as error:
                raise broken(error) from error

        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, run)
        except RagridError:
            raise
        except RuntimeError as error:  # the pool is shut down
            raise StoreBrokenError("the store is closing; send the request again") from error

    def _own_reader(self) -> apsw.Connection:
        """Return this thread's connection: SQLite's answers to one thread never wait for another's."""
        reader: apsw.Connection | None = getattr(self._thread_local, "reader", None)
        if reader is None:
            reader = self._thread_local.reader = open_reader(self.path)
            self._resources.callback(reader.close)
        return reader


def broken(error: apsw.Error) -> StoreBrokenError:
    """Return what a caller hears of a read that failed."""
    return StoreBrokenError(f"the store could not be read ({error}); try again, and see that the disk works")
