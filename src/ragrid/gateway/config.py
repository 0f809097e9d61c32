"""What an edge is rendered from."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one caller may ask of one service, keyed by the token's subject (public routes: by address); above it 429.

    `burst` requests may come at once beyond `requests_per_s`. `tokens_per_minute` (None: any number) is for a language
    model.
    """

    requests_per_s: int = 10_000
    burst: int = 20_000
    concurrent: int = 2_000
    tokens_per_minute: int | None = None

    @property
    def policy(self) -> str:
        """Return them as a `RateLimit-Policy` field (draft-ietf-httpapi-ratelimit-headers-10)."""
        parts = [f'"rate";q={self.requests_per_s};w=1', f'"concurrent";q={self.concurrent};qu="concurrent-requests"']
        if self.tokens_per_minute is not None:
            parts.append(f'"tokens";q={self.tokens_per_minute};w=60;qu="tokens"')
        return ", ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeService:
    """One service behind the edge; `name` is a key of `routes.POLICY`.

    `hash` sends the same caller with the same `X-Session-Id` to the same instance. An instance that joins others takes
    `slow_start_s` to get its full share; 0: it has it at once.
    """

    name: str
    balance: Literal["least_conn", "round_robin", "hash"] = "least_conn"
    limits: Limits = field(default_factory=Limits)
    slow_start_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Where the edge's certificate chain and private key lie (PEM)."""

    certificate_file: Path
    key_file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class MutualTls:
    """What the edge shows to our own services, and whose word it takes for theirs: they must be `server_name` (PEM)."""

    certificate_file: Path
    key_file: Path
    authority_file: Path
    server_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long the edge waits for a client: for a whole header, and between two pieces of a body."""

    header_s: float = 15.0
    body_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthChecks:
    """How often the edge asks each instance, and how long it waits for the answer.

    An instance that has not answered after `suspect_s` gets nothing new while others are up, and requests that wait on
    it may be taken from it. With `interval_s` that is how long they wait on one that hangs: well under half a second.
    """

    interval_s: float = 0.25
    suspect_s: float = 0.15
    timeout_s: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """Everything that needs a reload of nginx to change; endpoints, keys and roles come as state instead.

    All paths are absolute. `run_directory` must be readable by its owner alone: whoever can write to `admin_socket`
    decides where requests go and whose tokens count. With `tls` the edge answers on `https_port` and `http_port` only
    redirects there; without, `http_port` is the edge. With `mutual_tls` it speaks TLS to our own services, which are
    those that get the caller's token. `user` is whom workers run as when nginx is started by root.
    """

    issuer: str
    server_name: str = "localhost"
    listen_addresses: tuple[str, ...] = ("127.0.0.1",)
    http_port: int
    https_port: int | None = None
    tls: Tls | None = None
    mutual_tls: MutualTls | None = None
    metrics_host: str = "127.0.0.1"
    metrics_port: int
    run_directory: Path
    log_directory: Path
    lua_directory: Path
    admin_socket: Path
    state_file: Path
    services: tuple[EdgeService, ...]
    workers: int = 2
    user: str | None = None
    patience: Patience = field(default_factory=Patience)
    health: HealthChecks = field(default_factory=HealthChecks)
    #: Without a word from the controller (which speaks every 2 s) for so long, routes that need `…:admin` close.
    state_age_limit_s: float = 60.0
    modules_directory: Path = Path("/usr/lib/nginx/modules")
    #: Debian's lua-cjson, lua-resty-core and lua-resty-lrucache; `?` is the module.
    lua_path: str = "/usr/share/lua/5.1/?.lua"
    lua_c_path: str = "/usr/lib/x86_64-linux-gnu/lua/5.1/?.so;/usr/lib/aarch64-linux-gnu/lua/5.1/?.so"

    @property
    def reload_outcome(self) -> Path:
        """Where whoever reloads the edge notes what came of it; the edge exports it."""
        return self.run_directory / "reload.json"

    def __post_init__(self) -> None:
        """Refuse what nginx would read differently."""
        if (self.tls is None) != (self.https_port is None):
            raise ValueError("https_port and tls: got one of them, wanted both or none")
        for path in (self.run_directory, self.log_directory, self.lua_directory, self.admin_socket, self.state_file):
            if not path.is_absolute():
                raise ValueError(f"{path}: wanted an absolute path")
