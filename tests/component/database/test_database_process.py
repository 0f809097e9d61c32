"""The grid's own PostgreSQL as a process: what it lets in, what it survives, and that nothing of it is left."""

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import asyncpg
import httpx
import psutil
import pytest

from ragrid.services.database.monitor import FIGURES
from ragrid.spec.settings import DatabaseAccount, DatabaseSettings, Listen, dump_settings
from ragrid.system.certificates import make_authority, make_leaf
from support import after_kill
from support.postgresql import postgresql_program
from support.registry_servers import free_ports

START_LIMIT_S = 120.0


class Database:
    """One process of `ragrid.services.database`, its files below a folder that only we can enter."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="ragrid-db-"))
        self.port, self.page_port = free_ports(2)
        self.password = secrets.token_urlsafe(32)
        self.process: subprocess.Popen[bytes] | None = None
        self._write_files()

    @property
    def authority(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def files(self) -> Path:
        return self.folder / "data" / "cluster"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def address(
        self, *, user: str = "one", password: str | None = None, database: str = "one", tls: bool = True
    ) -> str:
        mode = f"verify-full&sslrootcert={quote(str(self.authority))}" if tls else "disable"
        return f"postgresql://{user}:{password or self.password}@127.0.0.1:{self.port}/{database}?sslmode={mode}"

    def launch(self) -> None:
        command = (sys.executable, "-m", "ragrid.services.database", "--settings", str(self.folder / "settings.json"))
        with (self.folder / "log").open("ab") as log:
            self.process = after_kill.start(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def start(self) -> None:
        self.launch()
        deadline_s = time.monotonic() + START_LIMIT_S
        while self.page("readyz") != 200:
            assert self.process is not None
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline_s, self.log
            time.sleep(0.05)

    def page(self, name: str) -> int:
        try:
            return httpx.get(f"http://127.0.0.1:{self.page_port}/{name}", trust_env=False).status_code
        except httpx.TransportError:
            return 0

    def server(self) -> psutil.Process:
        """The server's main process."""
        assert self.process is not None
        (child,) = psutil.Process(self.process.pid).children()
        return child

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(timeout=60)

    def remove(self) -> None:
        if self.process is not None and self.process.poll() is None:
            below = psutil.Process(self.process.pid).children(recursive=True)
            self.end()
            psutil.wait_procs(below, timeout=30)
        shutil.rmtree(self.folder)

    def _write_files(self) -> None:
        authority = make_authority("test", now_s=time.time())
        leaf = make_leaf(authority, "postgresql", ["127.0.0.1"], now_s=time.time())
        contents = {"ca.crt": authority.certificate, "server.crt": leaf.certificate, "server.key": leaf.key}
        for name, content in {**contents, "one.password": self.password.encode(), "two.password": b"x" * 43}.items():
            (self.folder / name).write_bytes(content)
            (self.folder / name).chmod(0o600)
        (self.folder / "data").mkdir(mode=0o700)
        settings = DatabaseSettings(
            listen=Listen(port=self.page_port),
            host="127.0.0.1",
            port=self.port,
            programs_directory=postgresql_program("postgres").parent,
            data_directory=self.folder / "data",
            run_directory=self.folder / "run",
            certificate_file=self.folder / "server.crt",
            key_file=self.folder / "server.key",
            accounts=tuple(
                DatabaseAccount(name=name, password_file=self.folder / f"{name}.password") for name in ("one", "two")
            ),
            max_connections=50,
        )
        (self.folder / "settings.json").write_bytes(dump_settings(settings))


def ask(address: str, *statements: str) -> list[object]:
    async def asked() -> list[object]:
        connection = await asyncpg.connect(address, timeout=20)
        try:
            return [await connection.fetchval(statement) for statement in statements]
        finally:
            await connection.close()

    return asyncio.run(asked())


def refusal(address: str, statement: str = "SELECT 1") -> str:
    """What psql, which knows nothing of ours, is told instead of an answer."""
    psql = (str(postgresql_program("psql")), "-X", "-A", "-t", "-c", statement, address)
    done = subprocess.run(psql, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0, done.stdout
    return done.stderr


@pytest.fixture(scope="module")
def shared() -> Iterator[Database]:
    """A database for all tests here, in their order."""
    database = Database()
    unfinished = database.folder / "data" / "new"  # of a process that was killed while it made the files
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("half made")
    try:
        database.start()
        yield database
    finally:
        database.remove()


def test_an_account_owns_its_database_and_sees_no_other(shared: Database) -> None:
    asked = ("SELECT current_user", "CREATE TABLE t (n int)", "INSERT INTO t VALUES (7) RETURNING n", "DROP TABLE t")
    assert ask(shared.address(), *asked) == ["one", None, 7, None]
    assert "no pg_hba.conf entry" in refusal(shared.address(database="two"))
    assert "permission denied" in refusal(shared.address(), "SELECT rolpassword FROM pg_authid")
    assert "permission denied" in refusal(shared.address(), "SELECT pg_read_file('/etc/passwd')")


@pytest.mark.parametrize(
    ("user", "password", "tls", "said"),
    [
        ("one", "wrong", True, "password authentication failed"),
        ("one", None, False, "no pg_hba.conf entry"),
        ("postgres", None, True, "no pg_hba.conf entry"),
        ("nobody-there", None, True, "no pg_hba.conf entry"),
    ],
)
def test_others_are_not_let_in(shared: Database, user: str, password: str | None, tls: bool, said: str) -> None:
    assert said in refusal(shared.address(user=user, password=password, tls=tls))


def test_its_certificate_is_the_grids_own(shared: Database, tmp_path: Path) -> None:
    stranger = make_authority("stranger", now_s=time.time())
    (tmp_path / "ca.crt").write_bytes(stranger.certificate)
    foreign = shared.address().replace(quote(str(shared.authority)), quote(str(tmp_path / "ca.crt")))
    assert "certificate verify failed" in refusal(foreign)


def test_the_server_has_no_right_of_roots_and_lies_where_only_root_may_enter(shared: Database) -> None:
    server = shared.server()
    assert shared.folder.stat().st_mode & 0o077 == 0
    assert 0 not in server.uids()
    if os.geteuid() == 0:
        assert "NoNewPrivs:\t1" in Path(f"/proc/{server.pid}/status").read_text()
        assert "CapEff:\t0000000000000000" in Path(f"/proc/{server.pid}/status").read_text()
        assert (shared.folder / "run-etc").stat().st_uid == 0, "it may not change its own configuration"
    socket = shared.folder / "run" / f".s.PGSQL.{shared.port}"
    as_superuser = f"postgresql://postgres@/postgres?host={socket.parent}&port={shared.port}"
    assert ask(as_superuser, "SHOW fsync", "SHOW data_checksums", "SHOW ssl") == ["on", "on", "on"]


def test_the_metrics_are_the_servers_own(shared: Database) -> None:
    ask(shared.address(), "SELECT 1")
    text = httpx.get(f"http://127.0.0.1:{shared.page_port}/metrics", trust_env=False).text
    assert "postgresql_up 1.0" in text
    for name, _ in FIGURES.values():
        assert f'{name}{{database="one"}}' in text, name
    assert "postgresql_max_connections 50.0" in text


def test_a_renewed_certificate_is_shown_without_a_restart(shared: Database) -> None:
    server = shared.server()
    stranger = make_authority("stranger", now_s=time.time())
    kept = {name: (shared.folder / name).read_bytes() for name in ("server.crt", "server.key")}
    leaf = make_leaf(stranger, "postgresql", ["127.0.0.1"], now_s=time.time())
    for contents, is_shown in (({"server.crt": leaf.certificate, "server.key": leaf.key}, True), (kept, False)):
        for name, content in contents.items():
            (shared.folder / name).write_bytes(content)
        deadline_s = time.monotonic() + 60.0
        while is_foreign(shared) != is_shown:
            assert time.monotonic() < deadline_s, shared.log
            time.sleep(0.1)
    assert shared.server() == server


def is_foreign(database: Database) -> bool:
    """Whether the server shows a certificate that is not of the grid's authority."""
    psql = (str(postgresql_program("psql")), "-X", "-c", "SELECT 1", database.address())
    said = subprocess.run(psql, capture_output=True, text=True, check=False, timeout=60).stderr
    return "certificate verify failed" in said


def test_what_was_committed_survives_every_end_and_nothing_is_left(shared: Database) -> None:
    ask(shared.address(), "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (1)")
    server = shared.server()
    shared.end(signal.SIGKILL)
    assert psutil.wait_procs([server], timeout=30)[1] == [], "the server ends with its keeper"
    shared.start()
    assert ask(shared.address(), "SELECT count(*) FROM kept", "INSERT INTO kept VALUES (2)")[0] == 1
    server = shared.server()
    below = server.children(recursive=True)
    server.kill()
    assert shared.process is not None
    shared.process.wait(timeout=60)  # and the keeper with its server
    psutil.wait_procs(below, timeout=30)
    shared.password = secrets.token_urlsafe(32)
    (shared.folder / "one.password").write_text(shared.password)
    shared.start()
    assert ask(shared.address(), "SELECT count(*) FROM kept") == [2]
    processes = [shared.server(), *shared.server().children(recursive=True)]
    shared.end()
    assert psutil.wait_procs(processes, timeout=30)[1] == []
    control = (str(postgresql_program("pg_controldata")), str(shared.files))
    state = subprocess.run(control, capture_output=True, text=True, check=True).stdout
    assert "Database cluster state:               shut down\n" in state


def test_files_of_another_version_are_refused_by_name(shared: Database) -> None:
    if shared.process is not None and shared.process.poll() is None:
        shared.end()
    (shared.files / "PG_VERSION").write_text("9\n")
    shared.launch()
    assert shared.process is not None
    assert shared.process.wait(timeout=60) != 0
    assert "made by PostgreSQL 9" in shared.log
