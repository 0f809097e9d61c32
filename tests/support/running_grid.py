"""A grid for system tests: its own ports and state directory, driven by the command line as a user drives it."""

import contextlib
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from ragrid.system import owned
from support import after_kill
from support.registry_servers import free_ports

RAGRID = Path(sys.executable).parent / "ragrid"
REPOSITORY = Path(__file__).parents[2]
#: Two cores may be busy with other work; a passing start takes a fifth of it.
START_LIMIT_S = 180.0
#: A token of the grid is good for ten minutes; it is handed out for the first five.
TOKEN_KEPT_S = 300.0


@dataclass(frozen=True)
class RunningGrid:
    """One grid and how to reach it."""

    file: Path
    state: Path
    home: Path
    tokens: dict[str, tuple[str, float]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the user who runs it."""
        own = {
            "XDG_STATE_HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / "nobody"),
        }  # who runs it signs in elsewhere
        return {**os.environ, **own, "NO_COLOR": "1", "RAGRID_TOKEN": ""}

    def cli(self, *arguments: str, limit_s: float = START_LIMIT_S) -> subprocess.CompletedProcess[str]:
        """Run one verb to its end."""
        return after_kill.run((str(RAGRID), *arguments), environment=self.environment, limit_s=limit_s)

    def ok(self, *arguments: str, limit_s: float = START_LIMIT_S) -> str:
        """Run one verb that must succeed; return its standard output."""
        done = self.cli(*arguments, limit_s=limit_s)
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """Run one verb with --json that must succeed; return the document."""
        return json.loads(self.ok(*arguments, "--json"))

    def status(self) -> dict[str, Any]:
        """Return what `ragrid status --json` says, whatever its exit code."""
        document: dict[str, Any] = json.loads(self.cli("status", "--json").stdout)
        return document

    def part(self, name: str) -> dict[str, Any]:
        """Return the status of one part."""
        return next(part for part in self.status()["parts"] if part["name"] == name)

    @property
    def address(self) -> str:
        """The gateway's public address."""
        return f"https://127.0.0.1:{self.document['gateway']['https']}"

    @property
    def document(self) -> dict[str, Any]:
        """The grid file as plain data."""
        document: dict[str, Any] = yaml.safe_load(self.file.read_text())
        return document

    @property
    def authority(self) -> Path:
        """The CA certificate that clients trust."""
        return self.state / "secrets" / "ca.crt"

    def token(self, role: str) -> str:
        """Return a token of a role that is good for some minutes, mostly the same one."""
        token, since_s = self.tokens.get(role, ("", 0.0))
        if not token or time.monotonic() - since_s > TOKEN_KEPT_S:
            token = self.ok("token", "issue", "--role", role).strip()
            self.tokens[role] = (token, time.monotonic())
        return token

    def client(self, token: str | None = None) -> httpx.Client:
        """Return an HTTP client of the gateway."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        context = ssl.create_default_context(cafile=str(self.authority))
        return httpx.Client(base_url=self.address, headers=headers, verify=context, timeout=30.0, trust_env=False)

    def pids(self, part: str) -> set[int]:
        """Return the processes of a part."""
        return {pid for pid, name in owned.parts_running(self.state).items() if name == part}


def grid_document(*, name: str = "test", services: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a grid for one machine, every port a free one."""
    ports = iter(free_ports(20))
    document: dict[str, Any] = {
        "grid": name,
        "hosts": {"localhost": {"lan": "127.0.0.1"}},
        "gateway": {
            "http": next(ports),
            "https": next(ports),
            "metrics_port": next(ports),
            "controller_port": next(ports),
        },
        "registry": {"kind": "etcd", "port": next(ports), "peer_port": next(ports), "metrics_port": next(ports)},
        "auth": {"port": next(ports)},
        "agent": {"port": next(ports)},
        "services": {
            "chromadb": {"port": next(ports)},
            "memory": {"port": next(ports)},
            "rag": {"port": next(ports)},
        },
        "monitoring": {"port": next(ports), "node_exporter_port": next(ports), "scrape_interval": "1s"},
    }
    for service, keys in (services or {}).items():
        section = document["services"].setdefault(service, {"port": next(ports)})
        section.update(keys)
    return document


@contextlib.contextmanager
def running_grid(document: dict[str, Any], *, files: Mapping[str, str] | None = None) -> Iterator[RunningGrid]:
    """Bring a grid up, and purge it afterwards whatever happened; `files` lie private beside its grid file."""
    home = Path(tempfile.mkdtemp(dir="/tmp", prefix="ragrid-"))
    file = home / "grid.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    for name, content in (files or {}).items():
        (home / name).write_text(content)
        (home / name).chmod(0o600)
    grid = RunningGrid(file, home / "ragrid" / document["grid"], home)
    after_kill.end_grid(grid.state, home)
    try:
        grid.ok("up", str(file))
        yield grid
    finally:
        grid.cli("down")
        left = owned.parts_running(grid.state)
        owned.end(lambda: owned.parts_running(grid.state), grace_s=1.0)
        shutil.rmtree(home)
        assert not left, f"processes that `ragrid down` left: {left}"


def eventually(claim: Callable[[], bool], what: str, limit_s: float = 60.0) -> None:
    """Wait until `claim` holds; fail with `what` when it never does."""
    deadline = time.monotonic() + limit_s
    while not claim():
        assert time.monotonic() < deadline, f"not within {limit_s:g} s: {what}"
        time.sleep(0.2)
