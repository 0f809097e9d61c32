"""The token store's database as one SQLite file, for one process.

Durable before answered: WAL with `synchronous=FULL`, so a committed change survives SIGKILL and power loss.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw

from ragrid.errors import RagridError, StateError, UnreachableError
from ragrid.services.tokens.engine import Binding
from ragrid.services.tokens.schema import check, prepare
from ragrid.system.files import PRIVATE

logger = logging.getLogger(__name__)

FILE_NAME = "tokens.sqlite3"


class SqliteEngine:
    """The open file."""

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    @property
    def where(self) -> str:
        """The file."""
        return str(self._path)

    @contextlib.contextmanager
    def change(self) -> Iterator[None]:
        """Make the block one durable change: all of it is on disk when this ends, or none of it.

        Raises UnreachableError when the disk is full or busy, StateError when the file is damaged.
        """
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._rollback()
                raise
            self._commit()
        except apsw.Error as error:
            raise _translated(error, self._path) from error

    def rows(self, query: str, bindings: Sequence[Binding] = ()) -> list[tuple[Any, ...]]:
        """Run one statement, and return what it found."""
        try:
            return self._connection.execute(query, bindings).fetchall()
        except apsw.Error as error:
            raise _translated(error, self._path) from error

    def announce(self) -> None:
        """Do nothing: the file belongs to this process alone."""

    def listen(self, heard: Callable[[], object]) -> None:
        """Do nothing: there is nobody to listen to."""

    def scrub(self) -> None:
        """Empty the write-ahead log, so that no private half lingers in it; waits for nobody."""
        with contextlib.suppress(apsw.BusyError):
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def close(self) -> None:
        """Close the file; what was committed is in it."""
        self._connection.close()

    def _commit(self) -> None:
        try:
            self._connection.execute("COMMIT")
        except apsw.Error:
            self._rollback()
            raise

    def _rollback(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


def open_file(directory: Path) -> SqliteEngine:
    """Open the file in `directory`, made with mode 0700 (the file 0600) when it is not there.

    Raises StateError naming the file when it holds something that we did not leave there; it is not touched then.
    """
    make_private(directory)
    path = directory / FILE_NAME
    path.touch(mode=PRIVATE, exist_ok=True)
    if path.stat().st_mode & 0o077:
        logger.warning("the store was readable by others; its mode is 0600 again", extra={"file": str(path)})
        path.chmod(PRIVATE)
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            check(connection, str(path))
            prepare(connection)
        except BaseException:
            connection.close()
            raise
    except apsw.Error as error:
        raise _translated(error, path) from error
    return SqliteEngine(connection, path)


def make_private(directory: Path) -> None:
    """Make `directory` one that only its owner can enter; raises StateError when that cannot be."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        directory.chmod(0o700)
    except OSError as error:
        raise StateError(f"{directory}: {error.strerror}; wanted a directory of our own") from error


def _translated(error: apsw.Error, path: Path) -> RagridError:
    if isinstance(error, apsw.NotADBError | apsw.CorruptError):
        return StateError(f"{path}: damaged: {error}; restore it from a backup; it was not changed")
    return UnreachableError(f"{path}: {error}; look at the disk's free space and the file's owner")
