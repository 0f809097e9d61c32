"""Moves what commits have left in the write-ahead log into the file, beside the commits and not within them.

SQLite would do it within every commit that finds the log long: each write of that commit waited for thousands of pages
and for another flush of the disk, which was what the slowest writes were slow for.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import apsw

from ragrid.services.memory.metrics import CHECKPOINT_SECONDS

logger = logging.getLogger(__name__)

#: Pages that came to the log since the last move before the next begins: 4000 pages of 4 KiB are 16 MB.
CHECKPOINT_PAGES = 4000
#: What a move may leave to the writer, which moves the last pages between two commits; only then the log begins anew.
_REST_PAGES = 512
#: Moves one after another while commits are as fast as they are; then the writer moves what is left, be it long.
PASSES = 4


class LogKeeper:
    """Keeps the log short. Used on the writer's thread; moves on one of its own, over a connection of its own."""

    def __init__(self, open_connection: Callable[[], apsw.Connection], *, pages: int = CHECKPOINT_PAGES) -> None:
        self._open = open_connection
        self._limit = pages
        self._connection: apsw.Connection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="memory-log")
        self._move: Future[None] | None = None
        self._pages = 0
        self._moved = 0
        self._tried = 0

    def watch(self, connection: apsw.Connection) -> None:
        """Hear from the writer's connection how long the log is; it moves nothing by itself any more."""
        connection.set_wal_hook(self._grown)

    def committed(self, connection: apsw.Connection) -> None:
        """Look whether there is something to move; takes long only when commits were faster than moves for a while."""
        if self._pages < self._tried:  # the log began anew
            self._moved = self._tried = 0
        if self._move is not None:
            if self._move.done():
                self._move = None
                self._moved = checkpoint(connection)
        elif self._pages - max(self._moved, self._tried) >= self._limit:
            # Where a reader stands in the way, not with each commit: to look into a long log takes long.
            self._tried = self._pages
            self._move = self._thread.submit(self._run)

    def close(self) -> None:
        """Wait for a move that is under way, and make no other."""
        self._thread.shutdown()
        self._disconnect()

    def _grown(self, _connection: Any, _name: str, pages: int) -> int:
        self._pages = pages
        return apsw.SQLITE_OK

    def _run(self) -> None:
        try:
            if self._connection is None:
                self._connection = self._open()
            for _ in range(PASSES):
                moved = checkpoint(self._connection)
                if self._pages - moved <= _REST_PAGES:
                    break
        except apsw.Error as error:  # the log keeps what it has, and grows until the disk is well again
            logger.warning("the log could not be moved into the file", extra={"reason": str(error)})
            self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close(True)


def checkpoint(connection: apsw.Connection) -> int:
    """Move what no reader stands in the way of; return how many pages of the log are in the file now."""
    started_s = time.perf_counter()
    try:
        _, moved = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    except apsw.BusyError:  # somebody else moves
        return 0
    CHECKPOINT_SECONDS.observe(time.perf_counter() - started_s)
    return moved
