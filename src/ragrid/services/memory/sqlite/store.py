"""`SqliteStore`: the store of one process. Point reads run on the event loop (8 µs), writes on a thread of their own,
lists and searches on a few more.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import apsw

from ragrid.errors import RagridError
from ragrid.services.memory.changes import Change, Delete, Scope
from ragrid.services.memory.errors import StoreBrokenError
from ragrid.services.memory.metrics import EXPIRED, SEARCH_SECONDS
from ragrid.services.memory.sqlite.files import FILE_NAME, fetch, open_reader, open_writer, prepare
from ragrid.services.memory.sqlite.queries import (
    LAST_STATE,
    READ,
    Statement,
    history_statement,
    list_statement,
    search_statement,
)
from ragrid.services.memory.sqlite.transaction import NAMESPACE, NAMESPACES_KEPT
from ragrid.services.memory.sqlite.writer import Writer
from ragrid.services.memory.store import Event, Filter, Hit, Page, Read, Stats, Written, hits_of
from ragrid.system.files import held_lock

T = TypeVar("T")

LOCK_NAME = "memory.lock"
#: Threads for lists, searches and histories.
READERS = 2
#: A writer that does not come round in this time is stuck, seconds. A slow disk's flush took 0.03 s at its worst.
PROBE_TIMEOUT_S = 3.0


class SqliteStore:
    """A MemoryStore in the file `memory.db` of a directory that one process owns.

    Make it with `open`; one event loop may use it.
    """

    def __init__(self, path: Path, writer: Writer, resources: contextlib.ExitStack) -> None:
        self._path = path
        self._writer = writer
        self._resources = resources
        self._reader = open_reader(path)
        resources.callback(self._reader.close)
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="memory-reader")
        self._thread_local = threading.local()
        self._numbers: dict[Scope, int] = {}

    @classmethod
    def open(cls, directory: Path, *, max_bytes: int | None = None) -> "SqliteStore":
        """Lock, check, migrate and open the store in `directory`; `max_bytes` bounds the file, not its log.

        Raises ConflictError when another process has it, StateError when the file is damaged or not ours.
        """
        path = directory / FILE_NAME
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.ExitStack() as resources:
            resources.enter_context(held_lock(directory / LOCK_NAME, what=f"the memory store {path}"))
            prepare(path)
            writer = Writer(lambda: open_writer(path), max_bytes=max_bytes)
            resources.callback(writer.close)
            return cls(path, writer, resources.pop_all())
        raise AssertionError("an exit stack swallows nothing")

    @property
    def waiting_writes(self) -> int:
        """Writes accepted and not yet answered."""
        return self._writer.waiting

    async def read(self, scope: Scope, memory_id: str, *, now_us: int) -> Read | None:
        """See MemoryStore."""
        try:
            number = self._numbers.get(scope) or self._number(self._reader, scope)
            if number is None:
                return None
            rows = fetch(self._reader, READ, (number, memory_id, now_us))
        except apsw.Error as error:
            raise _broken(error) from error
        return Read(*rows[0]) if rows else None

    async def change(self, change: Change) -> Written:
        """See MemoryStore."""
        result: Written = await self._writer.submit(
            lambda transaction: transaction.change(change), makes_room=isinstance(change, Delete)
        )
        return result

    async def page(self, scope: Scope, wanted: Filter, *, now_us: int, limit: int, before: int | None = None) -> Page:
        """See MemoryStore."""

        def statement(number: int) -> Statement:
            return list_statement(number, wanted, now_us=now_us, limit=limit + 1, before=before)

        rows = await self._rows(scope, statement)
        more = rows[limit - 1][0] if len(rows) > limit else None
        return Page(tuple(doc for _, doc in rows[:limit]), more)

    async def search(
        self, scope: Scope, query: tuple[str, ...], wanted: Filter, *, now_us: int, limit: int
    ) -> tuple[Hit, ...]:
        """See MemoryStore."""
        if not query:
            return ()

        def statement(number: int) -> Statement:
            return search_statement(number, query, wanted, now_us=now_us, limit=limit)

        with SEARCH_SECONDS.labels("lexical").time():
            rows = await self._rows(scope, statement)
        return hits_of([(-score, doc) for score, doc in rows])

    async def history(
        self, scope: Scope, memory_id: str, *, now_us: int, limit: int, before: int | None = None
    ) -> tuple[Event, ...] | None:
        """See MemoryStore."""

        def work(reader: apsw.Connection) -> tuple[Event, ...] | None:
            number = self._number(reader, scope)
            with reader:  # both statements see the same moment
                last = [] if number is None else fetch(reader, LAST_STATE, (number, memory_id))
                if number is None or not last or has_expired(*last[0], now_us=now_us):
                    return None
                rows = fetch(reader, *history_statement(number, memory_id, limit=limit, before=before))
            return tuple(Event(*row) for row in rows)

        return await self._in_pool(work)

    async def sweep(self, *, now_us: int, limit: int) -> int:
        """See MemoryStore."""
        swept: int = await self._writer.submit(lambda transaction: transaction.sweep(now_us, limit), makes_room=True)
        EXPIRED.inc(swept)
        return swept

    async def probe(self) -> None:
        """See MemoryStore."""
        try:
            fetch(self._reader, "SELECT position FROM memory LIMIT 1")
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                await self._writer.submit(lambda _transaction: None)
        except apsw.Error as error:
            raise _broken(error) from error
        except TimeoutError as error:
            raise StoreBrokenError(f"the writer did not come round in {PROBE_TIMEOUT_S:g} s; it is stuck") from error

    async def stats(self) -> Stats:
        """See MemoryStore."""
        files = (self._path, Path(f"{self._path}-wal"))
        return Stats(self._writer.rows, sum(one.stat().st_size for one in files if one.exists()))

    async def close(self) -> None:
        """See MemoryStore."""
        await asyncio.to_thread(self._pool.shutdown)
        # The writer answers through the loop, so the loop must stay free while the thread ends.
        await asyncio.to_thread(self._resources.close)

    def _number(self, reader: apsw.Connection, scope: Scope) -> int | None:
        known = self._numbers.get(scope)
        if known is not None:
            return known
        rows = fetch(reader, NAMESPACE, (scope.tenant, scope.namespace))
        if not rows:
            return None
        if len(self._numbers) >= NAMESPACES_KEPT:
            self._numbers.clear()
        number: int = rows[0][0]
        self._numbers[scope] = number
        return number

    async def _rows(self, scope: Scope, statement: Callable[[int], Statement]) -> Sequence[Any]:
        def work(reader: apsw.Connection) -> Sequence[Any]:
            number = self._number(reader, scope)
            return [] if number is None else fetch(reader, *statement(number))

        return await self._in_pool(work)

    async def _in_pool(self, work: Callable[[apsw.Connection], T]) -> T:
        def run() -> T:
            try:
                return work(self._own_reader())
            except apsw.Error as error:
                raise _broken(error) from error

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
            reader = self._thread_local.reader = open_reader(self._path)
            self._resources.callback(reader.close)
        return reader


def has_expired(expires_us: int | None, last_op: str, *, now_us: int) -> bool:
    """Tell whether a memory's time is over, be it swept or not."""
    return last_op == "expire" or (expires_us is not None and expires_us <= now_us)


def _broken(error: apsw.Error) -> StoreBrokenError:
    return StoreBrokenError(f"the store could not be read ({error}); try again, and see that the disk works")
