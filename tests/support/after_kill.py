"""What the tests start ends with them, also when they are killed (SIGKILL): a small process watches over that.

It reads a pipe that the tests hold open, so it learns of their end whatever ended them. Then everything that was
started here and still runs is asked to end, and killed after `GRACE_S`. On an ordinary end it finds nothing to do.
"""

import atexit
import functools
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from ragrid.system import owned

#: How long a server may take to end when it is asked to, seconds.
GRACE_S = 10.0


def start(command: Sequence[str], **options: Any) -> "subprocess.Popen[Any]":
    """Start a server as `Popen` does, but in a session of its own that ends, all its processes, with the tests."""
    watcher = _watcher(os.getpid())
    process = subprocess.Popen(command, start_new_session=True, **options)
    watcher.watch(process.pid, command)
    return process


def run(
    command: Sequence[str], *, environment: Mapping[str, str], limit_s: float
) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end as `subprocess.run` does, with no input; raises `TimeoutExpired` after `limit_s`."""
    with start(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            said, complained = process.communicate(timeout=limit_s)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, said, complained)


def end_grid(state: Path, home: Path) -> None:
    """Have the grid whose state lies in `state` end with the tests, and the folder `home` removed."""
    _watcher(os.getpid()).tell(state, home)


class _Watcher:
    """The process that watches, and what it has been told; a forked test process has one of its own."""

    def __init__(self) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="ragrid-watch-"))
        self._locks = self._root / "run" / "locks"
        self._locks.mkdir(parents=True)
        self._numbers = itertools.count()
        self._process = subprocess.Popen(
            (sys.executable, __file__, str(GRACE_S)),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )
        self.tell(self._root, self._root)
        atexit.register(self._close)

    def watch(self, pid: int, command: Sequence[str]) -> None:
        """Write down who leads a session, as the launcher of a grid's parts does."""
        lock = self._locks / f"{next(self._numbers)}.lock"
        lock.write_bytes(owned.Leader.of(pid, command).record())

    def tell(self, root: Path, folder: Path) -> None:
        """Say which grid is to end, and which folder to remove then."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{root}\0{folder}\n")
        self._process.stdin.flush()

    def _close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=3 * GRACE_S + 30.0)


@functools.cache
def _watcher(_pid: int) -> _Watcher:
    return _Watcher()


def watch(told: IO[str], *, grace_s: float) -> None:
    """Read until the other end is closed; then end every process of what was named, and remove the folders."""
    pairs = [line[:-1].split("\0") for line in told if line.endswith("\n")]
    owned.end(lambda: {pid for root, _ in pairs for pid in owned.parts_running(Path(root))}, grace_s=grace_s)
    for _, folder in pairs:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    watch(sys.stdin, grace_s=float(sys.argv[1]))
