"""Which processes on this machine belong to a part of a grid, and how to end them.

A process belongs to a part when any of these holds; all of them survive the death of the supervisor:

- its environment carries the part's mark (some programs overwrite their own: nginx, and vLLM's engine);
- it holds the part's lock file open (nginx's workers inherit it; what Python spawns does not);
- it is in the process group that the part was started as (vLLM's engine, whose parent was killed).

Only the standard library is used: the launcher runs this before every part.
"""

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

#: The environment variable that marks every process of a grid; its value is `<state directory>:<part>`.
MARK = "RAGRID_PART"
_POLL_S = 0.05


def mark_of(root: Path, part: str) -> str:
    """Return the value of MARK for `part` of the grid under `root`."""
    return f"{root}:{part}"


@dataclass(frozen=True, slots=True)
class Leader:
    """The process that a part was started as, written into its lock file; it leads the part's process group.

    `started` (clock ticks since boot) tells it from a later process with the same number.
    """

    pid: int
    started: int
    session: int
    command: tuple[str, ...]

    @classmethod
    def read(cls, lock: Path) -> "Leader | None":
        """Return what the lock file says, or None when it says nothing that can be read."""
        try:
            record = json.loads(lock.read_bytes())
            pid, started, session = int(record["pid"]), int(record["started"]), int(record["session"])
            return cls(pid, started, session, tuple(record["command"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @classmethod
    def of_this_process(cls, command: Iterable[str]) -> "Leader":
        """Return what this process, about to become `command`, writes into its lock file."""
        return cls.of(os.getpid(), command)

    @classmethod
    def of(cls, pid: int, command: Iterable[str]) -> "Leader":
        """Return what a lock file says of a process that leads its group; raises OSError when it is gone."""
        seen = _stat(pid)
        if seen is None:
            raise OSError(f"/proc/{pid}/stat cannot be read")
        return cls(pid, seen.started, seen.session, tuple(command))

    def record(self) -> bytes:
        """Return the content of the lock file."""
        return json.dumps(asdict(self)).encode()

    def is_alive(self) -> bool:
        """Tell whether that very process still runs."""
        seen = _stat(self.pid)
        return seen is not None and seen.state != "Z" and seen.started == self.started

    def leads(self, seen: "_Stat") -> bool:
        """Tell whether a process is in this one's group. A number is not given anew while a group bears it."""
        return seen.group == self.pid and seen.session == self.session and seen.state != "Z"


def parts_running(root: Path) -> dict[int, str]:
    """Return the part of every process of the grid under `root`, by process id, the caller's own id left out."""
    prefix = f"{MARK}={root}:".encode()
    locks = root / "run" / "locks"
    leaders = {lock.stem: leader for lock in locks.glob("*.lock") if (leader := Leader.read(lock))}
    found: dict[int, str] = {}
    for pid in _process_ids():
        part = _marked(pid, prefix) or _holds_lock(pid, str(locks)) or _led(pid, leaders)
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


def _led(pid: int, leaders: Mapping[str, Leader]) -> str:
    seen = _stat(pid)
    if seen is None:
        return ""
    for part, leader in leaders.items():
        if leader.leads(seen) and (leader.is_alive() or _stat(leader.pid) is None):
            return part
    return ""


@dataclass(frozen=True, slots=True)
class _Stat:
    state: str
    group: int
    session: int
    started: int


def _stat(pid: int) -> _Stat | None:
    """Return what /proc/PID/stat says (proc(5)), or None when the process is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return _Stat(fields[0], int(fields[2]), int(fields[3]), int(fields[19]))


def _is_zombie(pid: int) -> bool:
    seen = _stat(pid)
    return seen is None or seen.state == "Z"


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
