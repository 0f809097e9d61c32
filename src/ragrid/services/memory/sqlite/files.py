"""Opens the store's file: checked, migrated, never made over something that is already there."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw

from ragrid.errors import RagridError, StateError
from ragrid.services.memory.sqlite.migrate import check, damaged, migrate
from ragrid.services.memory.sqlite.schema import APPLICATION_ID
from ragrid.services.memory.sqlite.where import plain_document
from ragrid.system.files import PRIVATE, sync_directory
from ragrid.web.progress import Progress

FILE_NAME = "memory.db"
#: The kernel keeps the file in memory as well; what a larger cache of our own would hold is in memory twice.
CACHE_KIB = 16 * 1024
READER_CACHE_KIB = 16 * 1024
BUSY_TIMEOUT_MS = 5000


def prepare(path: Path, progress: Progress | None = None) -> None:
    """Make `path` a sound store of this version: create it when there is none, check and migrate it when there is.

    `progress` hears how far it is, and may end it; what was not finished is done by the next start.
    Raises StateError naming the file when it is not a store of ours, is damaged, or was made by a newer version.
    """
    if not path.exists():
        _create(path)
    try:
        # Not opened as the writer yet: that would make a log for a file that may not be ours.
        with contextlib.closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)) as database:
            progress = progress or Progress()
            check(database, path, progress)
            migrate(database, progress)
    except (apsw.NotADBError, apsw.CorruptError) as error:
        raise damaged(path, str(error)) from error
    except apsw.InterruptError as error:
        raise StateError(f"{path}: its migration was interrupted; the next start goes on with it") from error
    except apsw.Error as error:
        raise StateError(f"{path}: {error}; see that the disk works and has room, then start again") from error


def open_writer(path: Path) -> apsw.Connection:
    """Return the connection that writes: each commit is on the disk when it returns. A LogKeeper empties its log."""
    database = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    database.set_busy_timeout(BUSY_TIMEOUT_MS)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("PRAGMA foreign_keys = ON")
    database.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    # A log that a burst has blown up is cut back at the next checkpoint instead of keeping its size for ever.
    database.execute("PRAGMA journal_size_limit = 67108864")
    return database


def open_mover(path: Path) -> apsw.Connection:
    """Return a connection that only moves what is in the log into the file, and flushes that as commits are flushed."""
    database = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    database.execute("PRAGMA synchronous = FULL")
    database.execute("PRAGMA wal_autocheckpoint = 0")
    database.pragma("user_version")  # only what was read once has its log open
    return database


def open_reader(path: Path) -> apsw.Connection:
    """Return a connection that can only read. Memory-mapping stays off: a failing disk must be an error, not SIGBUS."""
    database = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    database.set_busy_timeout(BUSY_TIMEOUT_MS)
    database.execute("PRAGMA query_only = ON")
    database.execute(f"PRAGMA cache_size = -{READER_CACHE_KIB}")
    database.create_scalar_function("plain_document", plain_document, 1, deterministic=True)
    return database


def fetch(database: apsw.Connection, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
    """Run one statement to its end and return its rows."""
    return database.execute(sql, parameters).fetchall()


def _create(path: Path) -> None:
    """Build the first version beside `path` and rename it, so that a file of that name is always a whole store."""
    leftovers = [one for one in (Path(f"{path}-wal"), Path(f"{path}-journal")) if one.exists()]
    if leftovers:
        found = ", ".join(str(one) for one in leftovers)
        raise StateError(f"{path}: missing, but {found} is here; restore the file from a backup, or move the rest away")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = path.with_name(path.name + ".new")
    try:
        new.unlink(missing_ok=True)
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, PRIVATE))
        database = apsw.Connection(str(new))
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        migrate(database, Progress())
        database.close()
        new.rename(path)
        sync_directory(path.parent)
    except (OSError, apsw.Error) as error:
        raise RagridError(f"{path}: could not be made: {error}; see that the disk works and has room") from error
