"""Copies a store's file while it is written to: page by page, from one moment, at half of what the disk gives.

The moment is held by a read transaction, so that the copy never begins anew, whatever is committed meanwhile; commits
go to the log, which grows until the copy is done. Commits wait for flushes, and a flush of much that a copy has written
takes long: so the copy flushes its own often, and rests as long as it worked.
"""

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import apsw

from ragrid.errors import RagridError
from ragrid.services.memory.errors import StoreBrokenError, StoreFullError
from ragrid.services.memory.protocol.backups import Note
from ragrid.services.memory.sqlite.files import fetch, open_reader
from ragrid.system.files import PRIVATE

#: Pages that are copied between two rests: 2 MiB, a few milliseconds.
PAGES = 512
#: Room that a copy leaves on the disk for the log, and for everybody else, bytes.
RESERVE_BYTES = 64 * 1024 * 1024
#: A rest is never longer, seconds: a disk that hangs for once does not hold the copy up twice.
REST_S = 0.5
#: Steps of SQLite between two looks at whether the check is still wanted: some milliseconds.
_CHECK_STEPS = 20_000
_SEQ = "SELECT value FROM counter WHERE name = 'seq'"


class StoppedError(RagridError):
    """The copy was given up because the service ends."""


class Copying:
    """One copy that is being made; `stop` may be called from any thread, and `run` ends soon after."""

    def __init__(self, source: Path, target: Path, note: Note, *, free_bytes: Callable[[Path], int]) -> None:
        self._source = source
        self._target = target
        self._note = note
        self._free_bytes = free_bytes
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Give the copy up."""
        self._stopped.set()

    def run(self) -> int:
        """Make `target`, flushed and checked, and return the last change in it. On a failure, nothing is left there.

        Raises StoreFullError, StoreBrokenError, and StoppedError.
        """
        try:
            self._make_room(self._source.stat().st_size)
            os.close(os.open(self._target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE))
            self._copy()
            return self._check()
        except BaseException as error:
            self._target.unlink(missing_ok=True)
            if isinstance(error, apsw.InterruptError):
                raise StoppedError("the service ends") from error
            if isinstance(error, apsw.FullError) or (isinstance(error, OSError) and error.errno == errno.ENOSPC):
                raise StoreFullError("the disk of the backups is full; make room, then ask again") from error
            if isinstance(error, apsw.Error | OSError):
                raise StoreBrokenError(f"the backup could not be written ({error}); see that the disk works") from error
            raise

    def _make_room(self, rest_bytes: int) -> None:
        """Raise StoreFullError when what is still to be written would leave less than the reserve."""
        wanted_bytes = rest_bytes + RESERVE_BYTES
        free_bytes = self._free_bytes(self._target.parent)
        if free_bytes < wanted_bytes:
            detail = f"the disk has {free_bytes} bytes left, wanted {wanted_bytes} for a backup and a reserve"
            raise StoreFullError(f"{detail}; make room, then ask again")

    def _copy(self) -> None:
        with (
            contextlib.closing(open_reader(self._source)) as here,
            contextlib.closing(apsw.Connection(str(self._target), flags=apsw.SQLITE_OPEN_READWRITE)) as there,
        ):
            # Half a copy is worth nothing, so nothing is done to be able to take it back; flushing is ours.
            there.execute("PRAGMA journal_mode = OFF")
            there.execute("PRAGMA synchronous = OFF")
            here.execute("BEGIN")
            fetch(here, _SEQ)  # only what was read holds the moment
            page_bytes: int = here.pragma("page_size")
            with there.backup("main", here, "main") as backup, self._target.open("rb") as file:
                while not backup.done:
                    started_s = time.perf_counter()
                    backup.step(PAGES)
                    os.fdatasync(file.fileno())
                    self._note(backup.page_count - backup.remaining, backup.page_count)
                    self._make_room(backup.remaining * page_bytes)
                    self._rest(time.perf_counter() - started_s)

    def _check(self) -> int:
        """Return the last change in the copy, which is sound and flushed."""
        # Immutable: no log is made beside it, and nobody else writes it.
        address = f"file:{quote(str(self._target))}?immutable=1"
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        with contextlib.closing(apsw.Connection(address, flags=flags)) as copy:
            copy.set_progress_handler(self._stopped.is_set, _CHECK_STEPS)
            found = [str(row[0]) for row in fetch(copy, "PRAGMA quick_check(3)")]
            if found != ["ok"]:
                raise StoreBrokenError(f"the copy is not sound ({'; '.join(found)}); see that the disk works")
            last_seq: int = fetch(copy, _SEQ)[0][0]
        with self._target.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # the store needs that memory more
        return last_seq

    def _rest(self, worked_s: float) -> None:
        if self._stopped.wait(min(worked_s, REST_S)):
            raise StoppedError("the service ends")
