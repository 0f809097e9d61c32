"""Backups of the SQLite store: whole files in a folder of their own, the newest few."""

import asyncio
import contextlib
import logging
import shutil
import time
from pathlib import Path

from ragrid.errors import RagridError
from ragrid.services.memory.errors import StoreBrokenError
from ragrid.services.memory.metrics import BACKUP_BYTES, BACKUP_FAILURES, BACKUP_SUCCESS
from ragrid.services.memory.model import moment
from ragrid.services.memory.protocol.backups import Backup, Note
from ragrid.services.memory.sqlite.connections import Connections
from ragrid.services.memory.sqlite.copying import Copying
from ragrid.system.files import sync_directory

logger = logging.getLogger(__name__)

FOLDER = "backups"
#: How many there are unless told otherwise.
KEPT = 3
#: What a copy is called until it is whole; nothing of that name outlives a start.
_UNFINISHED = "unfinished.db"


class BackupFolder:
    """The backups of one store: `memory-TIME.db` each, with a copy that is being made beside them."""

    def __init__(self, folder: Path, kept: int) -> None:
        self.folder = folder
        self._kept = kept
        self._clear()
        self._tell()

    def begin(self) -> Path:
        """Return where to make the next one."""
        self.folder.mkdir(exist_ok=True, mode=0o700)
        self._clear()
        return self.folder / _UNFINISHED

    def keep(self, now_us: int) -> Path:
        """Give the copy that was made its name, durably, and let the oldest go."""
        made = self.folder / f"memory-{moment(now_us):%Y%m%dT%H%M%S.%fZ}.db"
        (self.folder / _UNFINISHED).rename(made)
        sync_directory(self.folder)
        # A clock that was set back must not make the newest one look like the oldest.
        others = [one for one in self.files() if one != made]
        for one in others[self._kept - 1 :]:
            one.unlink()
        self._tell()
        return made

    def files(self) -> list[Path]:
        """Return those that are whole, newest first."""
        return sorted(self.folder.glob("memory-*.db"), reverse=True)

    def _clear(self) -> None:
        for one in self.folder.glob(f"{_UNFINISHED}*"):
            one.unlink()

    def _tell(self) -> None:
        newest = max((one.stat() for one in self.files()), key=lambda one: one.st_mtime, default=None)
        BACKUP_SUCCESS.set(0 if newest is None else newest.st_mtime)
        BACKUP_BYTES.set(0 if newest is None else newest.st_size)


class SqliteBackups(Connections):
    """See protocol/backups.py."""

    #: Set where the store is opened.
    backup_folder: BackupFolder

    def check_backup(self) -> None:
        """See Backups."""

    async def back_up(self, *, now_us: int, note: Note) -> Backup:
        """See Backups. On a thread of its own; when it is cancelled, the thread has ended before that is passed on."""
        started_s = time.perf_counter()
        try:
            target = await asyncio.to_thread(self.backup_folder.begin)
            copying = Copying(self.path, target, note, free_bytes=_free_bytes)
            seq = await _to_its_end(copying)
            made = await asyncio.to_thread(self.backup_folder.keep, now_us)
        except OSError as error:
            BACKUP_FAILURES.inc()
            raise StoreBrokenError(f"the folder of the backups fails ({error}); see that the disk works") from error
        except RagridError as error:
            BACKUP_FAILURES.inc()
            logger.warning("a backup failed", extra={"reason": str(error)})
            raise
        took_s = round(time.perf_counter() - started_s, 3)
        logger.info("a backup was made", extra={"backup": made.name, "seq": seq, "took_s": took_s})
        kept = tuple(one.name for one in self.backup_folder.files())
        return Backup(made.name, made.stat().st_size, seq, kept)


async def _to_its_end(copying: Copying) -> int:
    making = asyncio.ensure_future(asyncio.to_thread(copying.run))
    try:
        return await asyncio.shield(making)
    except asyncio.CancelledError:
        copying.stop()
        with contextlib.suppress(RagridError):
            await making
        raise


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free
