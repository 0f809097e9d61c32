"""The files of the database and its server process.

PostgreSQL refuses to run as root. Started by root, the server runs as `postgres` or `nobody`, who can enter neither
root's home nor a grid's private state directory; so it gets its folders as open handles (`/proc/self/fd/N`), and can
reach nothing else that is not open to everybody.
"""

import contextlib
import logging
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ragrid.errors import StateError
from ragrid.services.database.configuration import CONFIGURATION, SUPERUSER, configuration_files
from ragrid.spec.settings import DatabaseSettings
from ragrid.system.files import write_atomic

logger = logging.getLogger(__name__)

#: Whom the server runs as when root starts it: the first that this machine knows.
UNPRIVILEGED = ("postgres", "nobody")
#: Making a cluster takes 2 to 5 s; a slow disk may take long.
INIT_LIMIT_S = 300.0


@dataclass(frozen=True, slots=True)
class Owner:
    """The user that the server runs as."""

    name: str
    uid: int
    gid: int
    #: Whether that is somebody else than the user who runs this.
    is_other: bool


def server_owner() -> Owner:
    """Return who runs the server. Raises StateError when root knows nobody to run it as."""
    if os.geteuid() != 0:
        return Owner(pwd.getpwuid(os.geteuid()).pw_name, os.geteuid(), os.getegid(), is_other=False)
    for name in UNPRIVILEGED:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Owner(name, entry.pw_uid, entry.pw_gid, is_other=True)
    raise StateError(f"no user {' or '.join(UNPRIVILEGED)} on this machine: PostgreSQL does not run as root; add one")


class Cluster:
    """The database below `settings.data_directory`, and its server."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._settings = settings
        self._owner = server_owner()
        self._process: subprocess.Popen[bytes] | None = None
        self._shown: dict[str, bytes] = {}

    @property
    def files(self) -> Path:
        """PostgreSQL's own data directory."""
        return self._settings.data_directory / "cluster"

    @property
    def administrators(self) -> tuple[str, ...]:
        """The users who may be superuser over the private socket."""
        return tuple(sorted({self._owner.name, pwd.getpwuid(os.geteuid()).pw_name}))

    @property
    def _configuration(self) -> Path:
        return self._settings.run_directory.with_name(f"{self._settings.run_directory.name}-etc")

    def make(self) -> bool:
        """Make the files when there are none; return whether they were made.

        Raises StateError for files of another major version, or when they cannot be made.
        """
        if self.files.exists():
            self._check_version()
            return False
        unfinished = self._settings.data_directory / "new"  # what a killed process left is made again
        shutil.rmtree(unfinished, ignore_errors=True)
        self._give(unfinished)
        with _handles(unfinished) as (handle,):
            options = ("--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums", "--no-instructions")
            access = ("--auth-local=peer", "--auth-host=scram-sha-256", f"--username={SUPERUSER}")
            command = (self._program("initdb"), f"--pgdata={_path(handle)}", *options, *access)
            done = subprocess.run(
                self._unprivileged(command),
                cwd="/",
                pass_fds=(handle,),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=INIT_LIMIT_S,
                check=False,
            )
        if done.returncode != 0:
            raise StateError(
                f"{self.files}: initdb: {done.stderr.strip()[-500:]}; look at the disk and its mount options"
            )
        unfinished.rename(self.files)
        return True

    def start(self) -> None:
        """Start the server; it ends with this process, also when this is killed."""
        with _handles(self.files, self._give(self._settings.run_directory), self._configure()) as handles:
            files, run, configuration = map(_path, handles)
            for handle in handles:
                os.set_inheritable(handle, True)
            where = {name: f"{configuration}/{file}" for name, file in CONFIGURATION.items()}
            where["unix_socket_directories"] = run
            options = (word for name, value in where.items() for word in ("-c", f"{name}={value}"))
            command = (self._program("postgres"), "-D", files, *options)
            # The lock that says whose process it is must be inherited, too.
            self._process = subprocess.Popen(
                self._unprivileged(command), cwd="/", stdin=subprocess.DEVNULL, close_fds=False
            )

    def wait(self) -> int:
        """Wait for the server to end; return how it did."""
        assert self._process is not None  # noqa: S101 - start() comes first
        return self._process.wait()

    def stop(self, *, grace_s: float) -> None:
        """Close the database: connections are ended, what they committed is kept. After `grace_s` it is cut short."""
        if self._process is None:
            return
        for how, limit_s in ((signal.SIGINT, grace_s), (signal.SIGQUIT, 3.0), (signal.SIGKILL, 3.0)):
            self._process.send_signal(how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=limit_s)
                return
            logger.warning("the server does not end", extra={"signal": how.name, "waited_s": limit_s})

    def _check_version(self) -> None:
        made_by = (self.files / "PG_VERSION").read_text(encoding="ascii").strip()
        said = subprocess.run(
            (self._program("postgres"), "--version"), capture_output=True, text=True, check=True
        ).stdout
        if f" {made_by}." not in said:
            raise StateError(
                f"{self.files}: made by PostgreSQL {made_by}, got {said.strip()!r}; bring it over with pg_upgrade,"
                " or name the folder of the older programs as `database.programs`"
            )

    def _configure(self) -> Path:
        """Write the configuration, which the server may read and not write; return its folder."""
        folder = self._configuration
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        self._show(folder, mode=0o750)
        texts = configuration_files(self._settings, administrators=self.administrators)
        self._shown = self._certificate()
        for name, content in {**{name: text.encode() for name, text in texts.items()}, **self._shown}.items():
            write_atomic(folder / name, content, mode=0o600)
            self._show(folder / name, mode=0o640)
        return folder

    def follow_certificate(self) -> bool:
        """Have the server show a certificate that was renewed; return whether there was one."""
        found = self._certificate()
        if found == self._shown or self._process is None:
            return False
        for name, content in found.items():
            write_atomic(self._configuration / name, content, mode=0o600)
            self._show(self._configuration / name, mode=0o640)
        self._shown = found
        self._process.send_signal(signal.SIGHUP)
        return True

    def _certificate(self) -> dict[str, bytes]:
        return {
            "server.crt": self._settings.certificate_file.read_bytes(),
            "server.key": self._settings.key_file.read_bytes(),
        }

    def _show(self, path: Path, *, mode: int) -> None:
        """Let the server's user read what stays ours."""
        if self._owner.is_other:
            os.chown(path, -1, self._owner.gid)
            path.chmod(mode)

    def _give(self, folder: Path) -> Path:
        folder.mkdir(mode=0o700, exist_ok=True)
        if self._owner.is_other:
            os.chown(folder, self._owner.uid, self._owner.gid)
        return folder

    def _program(self, name: str) -> str:
        return str(self._settings.programs_directory / name)

    def _unprivileged(self, command: tuple[str, ...]) -> tuple[str, ...]:
        own = ("setpriv", "--pdeathsig", "INT")
        if not self._owner.is_other:
            return (*own, *command)
        rights = (f"--reuid={self._owner.uid}", f"--regid={self._owner.gid}", "--clear-groups", "--no-new-privs")
        return (*own, *rights, "--", *command)


def _path(handle: int) -> str:
    return f"/proc/self/fd/{handle}"


@contextlib.contextmanager
def _handles(*folders: Path) -> Iterator[tuple[int, ...]]:
    with contextlib.ExitStack() as opened:
        handles = []
        for folder in folders:
            handles.append(os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            opened.callback(os.close, handles[-1])
        yield tuple(handles)
