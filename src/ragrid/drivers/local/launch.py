"""Starts one part so that it can never run twice: `launch [--secret=NAME=FILE…] ROOT PART COMMAND…`.

A supervisor that was killed leaves its children running; a new supervisor would start doubles that fight over ports and
files. So each part is started through here: what is left of its last life is ended first, then a kernel lock is taken
that every process of the part inherits, then this process becomes the part.
"""

import fcntl
import os
import sys
import time
from pathlib import Path
from typing import NoReturn

from ragrid.system import owned

#: How long a leftover may take to end by itself before it is killed.
LEFTOVER_GRACE_S = 3.0
_LOCK_WAIT_S = 10.0
_SECRET = "--secret="  # noqa: S105 - the name of an option


def main(arguments: list[str]) -> NoReturn:
    """Become the part named by `arguments` (secrets…, root, part, command…), or end with 1 and say why not.

    `--secret=NAME=FILE` puts the content of FILE into the part's environment.
    """
    while arguments[0].startswith(_SECRET):
        name, _, file = arguments.pop(0).removeprefix(_SECRET).partition("=")
        os.environ[name] = Path(file).read_text(encoding="utf-8").strip()
    root, part, command = Path(arguments[0]), arguments[1], arguments[2:]
    ended = owned.end(lambda: _leftovers(root, part), grace_s=LEFTOVER_GRACE_S)
    if ended:
        print(f"launch: {part}: ended what was left of its last life: {ended}", file=sys.stderr)  # noqa: T201 - its log
    lock = root / "run" / "locks" / f"{part}.lock"
    handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    if not _locked(handle):
        sys.exit(f"launch: {part}: {lock} is still held; not starting a double")
    os.set_inheritable(handle, True)
    os.environ[owned.MARK] = owned.mark_of(root, part)
    os.execvp(command[0], command)  # noqa: S606 - no shell is the point; the tuple was built by parts.py


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


if __name__ == "__main__":
    main(sys.argv[1:])
