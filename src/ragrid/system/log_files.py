"""Logs that are bounded without telling their writers: copied aside and cut in place."""

import shutil
from pathlib import Path

#: One log may grow to this size, and one older part of it is kept beside it as `.1`.
LIMIT_BYTES = 10 * 1024 * 1024


def trim(log: Path, *, limit_bytes: int = LIMIT_BYTES) -> bool:
    """Move the content of `log` to `log.1` when it is larger than `limit_bytes`; tell whether it was.

    Writers must have opened it for appending, as the launcher and nginx do; then they go on at its new end. Lines
    written between the copy and the cut are lost, which takes a moment for 10 MiB.
    """
    try:
        if log.stat().st_size <= limit_bytes:
            return False
        shutil.copyfile(log, log.with_name(f"{log.name}.1"))
        with log.open("r+b") as stream:
            stream.truncate(0)
    except FileNotFoundError:
        return False
    return True


def trim_all(folder: Path, *, limit_bytes: int = LIMIT_BYTES) -> tuple[str, ...]:
    """Trim every `*.log` below `folder`; return the names of those that were too large."""
    return tuple(log.name for log in sorted(folder.glob("*.log")) if trim(log, limit_bytes=limit_bytes))
