"""Opens the store's file: checked, migrated, never made over something that is already there."""

import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apsw
import msgspec

from ragrid.errors import RagridError, StateError
from ragrid.services.memory.model import Memory, fingerprint_of, searchable
from ragrid.services.memory.sqlite.index_words import scope_words
from ragrid.services.memory.sqlite.schema import APPLICATION_ID, MIGRATIONS
from ragrid.services.memory.sqlite.where import plain_document
from ragrid.system.files import PRIVATE, sync_directory

logger = logging.getLogger(__name__)

FILE_NAME = "memory.db"
#: The kernel keeps the file in memory as well; what a larger cache of our own would hold is in memory twice.
CACHE_KIB = 16 * 1024
READER_CACHE_KIB = 16 * 1024
BUSY_TIMEOUT_MS = 5000


def prepare(path: Path) -> None:
    """Make `path` a sound store of this version: create it when there is none, check and migrate it when there is.

    Raises StateError naming the file when it is not a store of ours, is damaged, or was made by a newer version.
    """
    if not path.exists():
        _create(path)
    try:
        # Not opened as the writer yet: that would make a log for a file that may not be ours.
        with contextlib.closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)) as database:
            _check(database, path)
            _migrate(database)
    except (apsw.NotADBError, apsw.CorruptError) as error:
        raise _damaged(path, str(error)) from error
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
        _migrate(database)
        database.close()
        new.rename(path)
        sync_directory(path.parent)
    except (OSError, apsw.Error) as error:
        raise RagridError(f"{path}: could not be made: {error}; see that the disk works and has room") from error


def _check(database: apsw.Connection, path: Path) -> None:
    owner = database.pragma("application_id")
    if owner != APPLICATION_ID:
        raise _damaged(path, f"application_id is {owner}, wanted {APPLICATION_ID}: not a memory store")
    found = [str(row[0]) for row in database.execute("PRAGMA quick_check(3)")]
    if found != ["ok"]:
        raise _damaged(path, "; ".join(found))
    version = database.pragma("user_version")
    if version > len(MIGRATIONS):
        message = f"{path}: made by a newer ragrid (schema {version}, known {len(MIGRATIONS)}); run that version again"
        raise StateError(message)


def _migrate(database: apsw.Connection) -> None:
    for name, function in _OF_MIGRATIONS.items():
        database.create_scalar_function(name, function, deterministic=True)
    done = database.pragma("user_version")
    for number, statements in enumerate(MIGRATIONS[done:], start=done + 1):
        with database:
            database.execute(statements)
            database.execute(f"PRAGMA user_version = {number}")
        logger.info("store migrated", extra={"schema": number})


def _fingerprint_of_document(*arguments: Any) -> bytes:
    return fingerprint_of(msgspec.json.decode(arguments[0], type=Memory))


def _scope_words(*arguments: Any) -> str:
    return scope_words(*arguments)


def _searchable_of_document(*arguments: Any) -> str:
    doc, part = arguments
    return searchable(msgspec.json.decode(doc, type=Memory))[part]


#: What the steps of schema.py call; only there.
_OF_MIGRATIONS: dict[str, Callable[..., bytes | str]] = {
    "fingerprint_of_document": _fingerprint_of_document,
    "scope_words": _scope_words,
    "searchable_of_document": _searchable_of_document,
}


def _damaged(path: Path, found: str) -> StateError:
    return StateError(
        f"{path}: not a sound memory store ({found}); it was left as it is: restore it from a backup, or move it away "
        "to start empty"
    )
