"""Files that we own: written whole or not at all, private where they hold secrets."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ragrid.errors import ConflictError

PRIVATE = 0o600
PLAIN = 0o644


def write_atomic(path: Path, content: bytes, *, mode: int = PLAIN) -> None:
    """Replace `path` by `content` so that a crash leaves either the old bytes or the new ones, never a mixture.

    The temporary file is made with `mode` before a byte is written, so a secret is never readable by others.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as temporary:
            os.fchmod(temporary.fileno(), mode)
            temporary.write(content)
            temporary.flush()
            os.fsync(temporary.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    sync_directory(path.parent)


def write_if_changed(path: Path, content: bytes, *, mode: int = PLAIN) -> bool:
    """Like `write_atomic`, but leave an equal file with the same mode alone; return whether something was written."""
    try:
        if path.read_bytes() == content and path.stat().st_mode & 0o777 == mode:
            return False
    except FileNotFoundError:
        pass
    write_atomic(path, content, mode=mode)
    return True


def sync_directory(path: Path) -> None:
    """Make renames in `path` durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def held_lock(path: Path, *, what: str) -> Iterator[None]:
    """Hold an exclusive kernel lock on `path` while the block runs.

    Raises ConflictError at once when another process holds it; `what` names the work in that message.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = (
                f"{path}: another process holds the lock for {what}; wait until it ends, then run the command again"
            )
            raise ConflictError(message) from error
        yield
    finally:
        os.close(handle)
