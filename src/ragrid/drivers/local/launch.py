"""Starts one part so that it can never run twice: `launch [--secret=NAME=FILE…] ROOT PART COMMAND…`.

A supervisor that was killed leaves its children running. Its successor starts each part through here again, and then:

- what still runs on the same command is adopted: this process stands in for it, passes signals on, and ends when it
  ends, so that the death of a supervisor interrupts nobody;
- anything else that is left of the part's last life is ended first.

Then a kernel lock is taken that every process of the part inherits, and this process becomes the part.
"""

import fcntl
import os
import select
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

from ragrid.system import owned

#: How long a leftover may take to end by itself before it is killed.
LEFTOVER_GRACE_S = 3.0
_LOCK_WAIT_S = 10.0
_SECRET = "--secret="  # noqa: S105 - the name of an option
#: What a supervisor sends: to stop, to reopen logs, to reload.
_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_STOPPING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})


def main(arguments: list[str]) -> NoReturn:
    """Become the part named by `arguments` (secrets…, root, part, command…), or end with 1 and say why not.

    `--secret=NAME=FILE` puts the content of FILE into the part's environment.
    """
    while arguments[0].startswith(_SECRET):
        name, _, file = arguments.pop(0).removeprefix(_SECRET).partition("=")
        os.environ[name] = Path(file).read_text(encoding="utf-8").strip()
    root, part, command = Path(arguments[0]), arguments[1], arguments[2:]
    _write_to_log(root / "log" / f"{part}.log")
    lock = root / "run" / "locks" / f"{part}.lock"
    _adopt(root, part, _running_leader(lock, command))
    ended = owned.end(lambda: _leftovers(root, part), grace_s=LEFTOVER_GRACE_S)
    if ended:
        _say(part, f"ended what was left of its last life: {ended}")
    handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    if not _locked(handle):
        sys.exit(f"launch: {part}: {lock} is still held; not starting a double")
    if os.getpgrp() != os.getpid():
        os.setpgrp()
    os.ftruncate(handle, 0)
    os.write(handle, owned.Leader.of_this_process(command).record())
    os.set_inheritable(handle, True)
    os.environ[owned.MARK] = owned.mark_of(root, part)
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is the point; the tuple was built by parts.py
    except OSError as error:
        sys.exit(f"launch: {part}: {command[0]}: {error.strerror}; `ragrid doctor` says what is missing")


def _write_to_log(log: Path) -> None:
    """Make the log this process's output: a pipe would break with the supervisor at its other end."""
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(handle, sys.stdout.fileno())
    os.dup2(handle, sys.stderr.fileno())
    os.close(handle)


def _running_leader(lock: Path, command: list[str]) -> int | None:
    """Return the process that the part's last life began with, when it still runs on the same command."""
    leader = owned.Leader.read(lock)
    return leader.pid if leader and leader.is_alive() and leader.command == tuple(command) else None


def _adopt(root: Path, part: str, leader: int | None) -> None:
    """Stand in for `leader` until it ends; ends this process too when that was asked for."""
    stand_ins = [pid for pid in _leftovers(root, part) if _is_stand_in(pid)]
    for pid in stand_ins:  # one that a dead supervisor left; SIGTERM it would pass on
        os.kill(pid, signal.SIGKILL)
    if leader is None:
        return
    try:
        handle = os.pidfd_open(leader)
    except ProcessLookupError:
        return
    asked_to_stop = False

    def pass_on(number: int, _frame: FrameType | None) -> None:
        nonlocal asked_to_stop
        asked_to_stop = asked_to_stop or number in _STOPPING
        signal.pidfd_send_signal(handle, number)

    for number in _PASSED_ON:
        signal.signal(number, pass_on)
    _say(part, f"process {leader} still runs; standing in for it")
    select.select([handle], [], [])
    if asked_to_stop:
        sys.exit(0)
    for number in _PASSED_ON:
        signal.signal(number, signal.SIG_DFL)
    os.close(handle)


def _is_stand_in(pid: int) -> bool:
    try:
        return b"ragrid.drivers.local.launch" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _leftovers(root: Path, part: str) -> list[int]:
    return [pid for pid, name in owned.parts_running(root).items() if name == part]


def _locked(handle: int) -> bool:
    deadline = time.monotonic() + _LOCK_WAIT_S
    while time.monotonic() < deadline:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.05)
    return False


def _say(part: str, text: str) -> None:
    print(f"launch: {part}: {text}", file=sys.stderr)  # noqa: T201 - the part's log


if __name__ == "__main__":
    main(sys.argv[1:])
