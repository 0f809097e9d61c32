"""One part of a grid on one machine: what is run, where it listens, how it is checked and scraped."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ragrid.spec.settings import ClientTls


@dataclass(frozen=True, slots=True)
class Port:
    """A TCP port that a part listens on; `key` is the place in grid.yaml that sets it."""

    key: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Probe:
    """The URL whose status 200 means that a part is ready; https is verified against the grid's own authority."""

    url: str


@dataclass(frozen=True, slots=True)
class Scrape:
    """Where Prometheus finds the metrics of a part."""

    host: str
    port: int
    path: str = "/metrics"
    #: The file that holds the bearer token which the page asks for.
    token_file: Path | None = None
    #: What to show to a service that speaks mutual TLS.
    tls: ClientTls | None = None


@dataclass(frozen=True, slots=True)
class Reload:
    """How a part takes new files while it runs.

    `directory` (below the state directory) holds its files. `check`, with another such directory appended, is a command
    that accepts or refuses them. After a SIGHUP the figure `metric` on `page` grows once the new files are in force.
    `watched` are files and folders that others write and that it must read again when they change. `outcome` is where
    the last result is noted.
    """

    directory: str
    check: tuple[str, ...]
    page: str
    metric: str
    watched: tuple[Path, ...]
    outcome: Path


@dataclass(frozen=True, slots=True)
class Part:
    """Everything that the supervisor, the checks and the people need to know of one process."""

    name: str
    version: str
    command: tuple[str, ...]
    ports: tuple[Port, ...]
    probe: Probe
    scrape: Scrape
    environment: Mapping[str, str] = field(default_factory=dict)
    #: Variable -> file whose content it gets at the start, so that no secret is ever rendered.
    secret_environment: Mapping[str, Path] = field(default_factory=dict)
    #: Path below the state directory -> content: what the part reads at its start.
    files: Mapping[str, bytes] = field(default_factory=dict)
    stop_signal: str = "TERM"
    stop_wait_s: float = 10.0
    priority: int = 100
    reload: Reload | None = None

    @property
    def address(self) -> str:
        """Return `host:port` of the first port."""
        return f"{self.ports[0].host}:{self.ports[0].port}"

    @property
    def revision(self) -> str:
        """Return a digest of everything that would change how the part runs; its files apart if it can reload them."""
        files = {name: hashlib.sha256(content).hexdigest() for name, content in self.files.items()}
        secrets = {name: str(file) for name, file in self.secret_environment.items()}
        beginning = [self.version, self.command, dict(self.environment), secrets]
        if self.reload is None:
            return _digest([*beginning, files])
        return f"{_digest(beginning)}/{_digest(files)}"


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
