"""Which processes on this machine belong to a part of a grid, and how to end them.

A process belongs to a part when its environment carries the part's mark, or when it holds the part's lock file open
(nginx overwrites its own environment, but its workers inherit the lock). Both survive the death of the supervisor.
Only the standard library is used: the launcher runs this before every part.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

#: The environment variable that marks every process of a grid; its value is `<state directory>:<part>`.
MARK = "RAGRID_PART"
_POLL_S = 0.05


def mark_of(root: Path, part: str) -> str:
    """Return the value of MARK for `part` of the grid under `root`."""
    return f"{root}:{part}"


def parts_running(root: Path) -> dict[int, str]:
    """Return the part of every process of the grid under `root`, by process id, the caller's own id left out."""
    prefix = f"{MARK}={root}:".encode()
    locks = str(root / "run" / "locks")
    found: dict[int, str] = {}
    for pid in _process_ids():
        part = _marked(pid, prefix) or _holds_lock(pid, locks)
        if part:
            found[pid] = part
    return found


def end(pids: Callable[[], Iterable[int]], *, grace_s: float) -> tuple[int, ...]:
    """Ask every process of `pids()` to end, and kill those that are there after `grace_s`; return who was asked.

    `pids` is called again and again, so children that appear meanwhile are ended too. Gives up 5 s after the kill.
    """
    asked: set[int] = set()
    started = time.monotonic()
    while time.monotonic() - started < grace_s + 5.0:
        left = tuple(pids())
        if not left:
            break
        overdue = time.monotonic() - started > grace_s
        for pid in left:
            if overdue or pid not in asked:
                _signal(pid, signal.SIGKILL if overdue else signal.SIGTERM)
            if not overdue and pid not in asked:
                _signal(pid, signal.SIGCONT)  # a stopped process would never see its SIGTERM
            asked.add(pid)
        time.sleep(_POLL_S)
    return tuple(sorted(asked))


def _process_ids() -> Iterable[int]:
    own = os.getpid()
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and int(entry) != own]  # noqa: PTH208 - hot


def _marked(pid: int, prefix: bytes) -> str:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # gone meanwhile, or another user's
        return ""
    for entry in environment.split(b"\0"):
        if entry.startswith(prefix) and not _is_zombie(pid):
            return entry[len(prefix) :].decode()
    return ""


def _holds_lock(pid: int, locks: str) -> str:
    try:
        handles = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return ""
    for handle in handles:
        try:
            target = handle.readlink()
        except OSError:
            continue
        if str(target.parent) == locks:
            return target.stem
    return ""


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
