"""Brings the store's file to this release: looked at first, then step after step, each whole or not at all."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import msgspec

from ragrid.errors import StateError
from ragrid.services.memory.model import Memory, fingerprint_of, searchable
from ragrid.services.memory.sqlite.index_words import scope_words
from ragrid.services.memory.sqlite.schema import APPLICATION_ID, MIGRATIONS
from ragrid.web.progress import Progress

logger = logging.getLogger(__name__)

#: Instructions of SQLite between two signs of life: some milliseconds.
_SIGN_STEPS = 50_000
_LIVE = "SELECT value FROM counter WHERE name = 'rows'"


def check(database: apsw.Connection, path: Path, progress: Progress) -> None:
    """Raise StateError when the file is not a store of ours, is damaged, or was made by a newer version."""
    owner = database.pragma("application_id")
    if owner != APPLICATION_ID:
        raise damaged(path, f"application_id is {owner}, wanted {APPLICATION_ID}: not a memory store")
    progress.begin("checking the store's file")
    with _watched(database, progress):
        found = [str(row[0]) for row in database.execute("PRAGMA quick_check(3)")]
    if found != ["ok"]:
        raise damaged(path, "; ".join(found))
    version = database.pragma("user_version")
    if version > len(MIGRATIONS):
        message = f"{path}: made by a newer ragrid (schema {version}, known {len(MIGRATIONS)}); run that version again"
        raise StateError(message)


def migrate(database: apsw.Connection, progress: Progress) -> None:
    """Carry out the steps that the file does not have behind it."""
    for name, function in _functions(progress).items():
        database.create_scalar_function(name, function, deterministic=True)
    done = database.pragma("user_version")
    for number, statements in enumerate(MIGRATIONS[done:], start=done + 1):
        live = _live(database) if done else 0
        progress.begin("migrating the store", step=number, steps=len(MIGRATIONS), total=live)
        try:
            with _whole(database), _watched(database, progress):
                database.execute(statements)
                database.execute(f"PRAGMA user_version = {number}")
        except msgspec.MsgspecError as error:
            raise StateError(
                f"{database.filename}: step {number} of its migration: a memory cannot be read ({error}); the store is"
                " as it was before that step: run the release that made it, or restore it from a backup"
            ) from error
        logger.info("store migrated", extra={"schema": number})


def damaged(path: Path, found: str) -> StateError:
    """Return what is said of a file that cannot be used."""
    return StateError(
        f"{path}: not a sound memory store ({found}); it was left as it is: restore it from a backup, or move it away "
        "to start empty"
    )


def _live(database: apsw.Connection) -> int:
    rows: list[Any] = database.execute(_LIVE).fetchall()
    return int(rows[0][0])


@contextlib.contextmanager
def _whole(database: apsw.Connection) -> Iterator[None]:
    """Do it in one transaction. One that was interrupted, or found no room, may be rolled back by SQLite already."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def _watched(database: apsw.Connection, progress: Progress) -> Iterator[None]:
    """Tell that something goes on, as long as it does; raises InterruptError when it is not to go on."""
    database.set_progress_handler(progress.goes_on, _SIGN_STEPS)
    try:
        yield
    finally:
        database.set_progress_handler(None)


def _functions(progress: Progress) -> dict[str, Callable[..., bytes | str]]:
    """Return what the steps of schema.py call; only there. The first two are called once for each memory."""

    def fingerprint_of_document(*arguments: Any) -> bytes:
        progress.done += 1
        return fingerprint_of(msgspec.json.decode(arguments[0], type=Memory))

    def counted_scope_words(*arguments: Any) -> str:
        progress.done += 1
        return scope_words(*arguments)

    def searchable_of_document(*arguments: Any) -> str:
        doc, part = arguments
        return searchable(msgspec.json.decode(doc, type=Memory))[part]

    return {
        "fingerprint_of_document": fingerprint_of_document,
        "scope_words": counted_scope_words,
        "searchable_of_document": searchable_of_document,
    }
