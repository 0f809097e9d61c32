"""Programs are run here and nowhere else: argv tuples, no shell, bounded time, errors that say what to do."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ragrid.errors import MissingError, RagridError, UnreachableError

#: Directories that hold Debian's administration programs and are often missing from a user's PATH.
SYSTEM_PATHS = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin")


@dataclass(frozen=True)
class Finished:
    """What a program left behind."""

    command: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str


def find_program(name: str, *, package: str | None = None) -> Path:
    """Return the absolute path of `name`, on PATH or in the usual system folders.

    Raises MissingError that names the Debian `package` to install.
    """
    found = shutil.which(name) or shutil.which(name, path=":".join(SYSTEM_PATHS))
    if found is None:
        fix = f"sudo apt-get install --no-install-recommends {package}" if package else f"install {name}"
        raise MissingError(f"{name}: program not found on PATH or in {', '.join(SYSTEM_PATHS)}; {fix}")
    return Path(found)


def run(
    command: Sequence[str],
    *,
    timeout_s: float,
    stdin: bytes | None = None,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    check: bool = True,
) -> Finished:
    """Run `command` to its end and return its output.

    Raises MissingError when the program is absent, UnreachableError when it outlives `timeout_s` (it is killed),
    and RagridError when it fails and `check` is set.
    """
    try:
        done = subprocess.run(
            tuple(command),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=timeout_s,
            env=None if environment is None else dict(environment),
            cwd=directory,
            check=False,
        )
    except FileNotFoundError as error:
        raise MissingError(f"{command[0]}: program not found; run `ragrid doctor`") from error
    except subprocess.TimeoutExpired as error:
        raise UnreachableError(f"{command[0]}: no end after {timeout_s:g} s; it was killed") from error
    finished = Finished(
        tuple(command), done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    )
    if check and finished.exit_code != 0:
        said = (finished.stderr or finished.stdout).strip()[-2000:]
        raise RagridError(f"{' '.join(command)}: exit code {finished.exit_code}: {said}")
    return finished
