"""A real nginx with the rendered edge, small real backends behind it, and a signer of tokens."""

import contextlib
import http.server
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from ragrid.gateway.config import EdgeService, GatewayConfig, Tls
from ragrid.gateway.launch import nginx_command, prepare_for
from ragrid.gateway.lua import LUA_DIRECTORY
from ragrid.gateway.render import render_nginx
from ragrid.gateway.routes import POLICY
from ragrid.gateway.state import Endpoint, GatewayState, Revocations, ServiceState, dump_state, keys_from_jwks
from ragrid.identity.roles import BUILTIN_ROLES
from ragrid.system.certificates import make_authority, make_leaf
from support import after_kill

ISSUER = "https://edge.test"
ALL_PERMISSIONS = " ".join(BUILTIN_ROLES["admin"])


def wait_until(condition: Callable[[], Any], what: str, deadline_s: float = 10.0) -> Any:
    """Return the first true value of `condition`; fail with what was seen last."""
    end = time.monotonic() + deadline_s
    seen: Any = None
    while time.monotonic() < end:
        try:
            seen = condition()
        except (OSError, httpx.HTTPError) as error:
            seen = error
        else:
            if seen:
                return seen
        time.sleep(0.02)
    pytest.fail(f"{what}: not within {deadline_s} s; seen last: {seen!r}")


def free_ports(number: int) -> list[int]:
    held = [socket.socket() for _ in range(number)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


@dataclass
class Signer:
    """Mints access tokens; every claim and header can be bent."""

    key: ECKey = field(
        default_factory=lambda: ECKey.generate_key("P-256", {"alg": "ES256", "use": "sig"}, auto_kid=True)
    )

    def jwks(self) -> bytes:
        return json.dumps({"keys": [self.key.as_dict(private=False)]}).encode()

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": sorted(POLICY),
            "sub": "ada",
            "client_id": "tests",
            "tenant": "default_tenant",
            "scope": ALL_PERMISSIONS,
            "roles": ["admin"],
            "iat": now,
            "exp": now + 600,
            "jti": f"t{time.monotonic_ns()}",
        }
        claims.update(changes)
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, *, header: dict[str, Any] | None = None, **changes: Any) -> str:
        full = {"alg": "ES256", "typ": "at+jwt", "kid": self.key.kid, **(header or {})}
        full = {name: value for name, value in full.items() if value is not None}
        return jwt.encode(full, self.claims(**changes), self.key)

    def bearer(self, **changes: Any) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(**changes)}"}


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    backend: ClassVar["Backend"]

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class named it
        pass

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.backend.requests.append(
            {"method": self.command, "path": self.path, "headers": dict(self.headers.items()), "body": body}
        )
        if self.path.startswith("/v1/chat"):
            return self._stream()
        content = json.dumps({"backend": self.backend.name, "path": self.path}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        return None

    def _stream(self) -> None:
        """Ten events; the rest waits until the test has seen the first."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(10):
            if number == 1:
                self.backend.go_on.wait(10)
            event = f"data: {number}\n\n".encode()
            self.wfile.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a cut connection is what some tests want


@dataclass
class Backend:
    """One HTTP server in this process that remembers what it was asked."""

    name: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)
    port: int = 0
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        methods = dict.fromkeys(("do_GET", "do_HEAD", "do_POST", "do_PUT", "do_PATCH", "do_DELETE"), _Handler.answer)
        handler = type("Handler", (_Handler,), {"backend": self, **methods})
        self.server = _Server(("127.0.0.1", self.port), handler)
        if self.tls is not None:  # each handler shakes hands by itself, so that nobody holds up the others
            self.server.socket = self.tls.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def seen(self) -> list[dict[str, Any]]:
        """The requests apart from health checks."""
        return [one for one in self.requests if one["headers"].get("User-Agent") != "ragrid-gateway"]

    def stop(self) -> None:
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()


def _endpoint(port: int, **changes: Any) -> Endpoint:
    return Endpoint(**{"id": f"i{port}", "host": "127.0.0.1", "port": port, **changes})


@pytest.fixture
def endpoint() -> Callable[..., Endpoint]:
    """Describes a backend on a port of this machine."""
    return _endpoint


@pytest.fixture(name="wait_until")
def wait_until_fixture() -> Callable[..., Any]:
    """Waits for a condition with a deadline."""
    return wait_until


def _raw_request(port: int, *lines: str) -> tuple[int, str]:
    """Send exactly these header lines; return status and the whole answer."""
    text = "\r\n".join((*lines, "Host: localhost", "Connection: close", "", ""))
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(text.encode("latin-1"))
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return int(answer.split(b" ", 2)[1]), answer.decode(errors="replace")


@pytest.fixture(scope="session")
def raw_request() -> Callable[..., tuple[int, str]]:
    """Speaks HTTP/1.1 without a client that would mend it."""
    return _raw_request


@dataclass
class Edge:
    """A running edge. `put` and `push` speak to its admin socket."""

    config: GatewayConfig
    directory: Path
    signer: Signer
    process: subprocess.Popen[bytes] | None = None
    version: int = 0
    backend: Any = None

    @property
    def url(self) -> str:
        if self.config.https_port is not None:
            return f"https://localhost:{self.config.https_port}"
        return f"http://127.0.0.1:{self.config.http_port}"

    @property
    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self.config.metrics_port}"

    def start(self) -> None:
        for name, content in render_nginx(self.config).items():
            (self.directory / name).write_bytes(content)
        prepare_for(self.config)
        with (self.directory / "stderr.log").open("wb") as log:
            self.process = after_kill.start(nginx_command(self.directory), stderr=log, stdin=subprocess.DEVNULL)
        wait_until(self._answers, f"nginx answers; {self.directory}/stderr.log")
        assert "[error]" not in self.log(), self.log()

    def _answers(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            pytest.fail(f"nginx ended: {self.log()}")
        return httpx.get(f"{self.metrics_url}/healthz").status_code == 200

    def log(self) -> str:
        return (self.directory / "stderr.log").read_text()[-4000:]

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)

    def put(self, content: bytes) -> httpx.Response:
        transport = httpx.HTTPTransport(uds=str(self.config.admin_socket))
        with httpx.Client(transport=transport) as client:
            return client.put("http://edge/state", content=content)

    def state(self, services: dict[str, list[Endpoint]], **changes: Any) -> GatewayState:
        self.version += 1
        return GatewayState(
            **{
                "version": self.version,
                "keys": keys_from_jwks(self.signer.jwks()),
                "services": {name: ServiceState(endpoints=tuple(some)) for name, some in services.items()},
                "roles": dict(BUILTIN_ROLES),
                "revoked": Revocations(),
                **changes,
            }
        )

    def push(self, services: dict[str, list[Endpoint]], **changes: Any) -> None:
        answer = self.put(dump_state(self.state(services, **changes)))
        assert answer.status_code == 200, answer.text

    def client(self, **headers: str) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=headers, timeout=20)

    def metrics(self) -> str:
        return httpx.get(f"{self.metrics_url}/metrics").text


EdgeFactory = Callable[..., Edge]


@pytest.fixture
def signer() -> Signer:
    return Signer()


@contextlib.contextmanager
def _short_directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(dir="/tmp", prefix="edge"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def _config(directory: Path, **changes: Any) -> GatewayConfig:
    http_port, metrics_port = free_ports(2)
    settings: dict[str, Any] = {
        "issuer": ISSUER,
        "http_port": http_port,
        "metrics_port": metrics_port,
        "run_directory": directory / "run",
        "log_directory": directory / "log",
        "lua_directory": LUA_DIRECTORY,
        "admin_socket": directory / "run" / "admin.sock",
        "state_file": directory / "state.json",
        "services": tuple(EdgeService(name=name) for name in sorted(POLICY)),
        "user": "root" if os.geteuid() == 0 else None,
        "state_age_limit_s": 3600.0,  # tests push a state once
    }
    return GatewayConfig(**(settings | changes))


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """Unix sockets need short names."""
    with _short_directory() as directory:
        yield directory


@pytest.fixture
def edges(short_directory: Path, signer: Signer) -> Iterator[EdgeFactory]:
    """Starts edges over the same directory, one after the other; stops what still runs."""
    started: list[Edge] = []

    def start(**changes: Any) -> Edge:
        started.append(Edge(_config(short_directory, **changes), short_directory, signer))
        started[-1].start()
        return started[-1]

    try:
        yield start
    finally:
        for one in started:
            one.stop()


@pytest.fixture
def backends() -> Iterator[Callable[..., Backend]]:
    """Starts backends by name; stops them all."""
    started: list[Backend] = []

    def start(name: str = "b", port: int = 0, tls: ssl.SSLContext | None = None) -> Backend:
        started.append(Backend(name, port=port, tls=tls))
        return started[-1]

    try:
        yield start
    finally:
        for one in started:
            one.stop()


def _with_one_backend(edge: Edge, backend: Backend) -> Edge:
    edge.backend = backend
    edge.push({name: [_endpoint(backend.port)] for name in POLICY})
    return edge


@pytest.fixture
def edge(edges: EdgeFactory, backends: Callable[..., Backend]) -> Edge:
    """An edge with one backend behind every service, for a test that changes its state."""
    return _with_one_backend(edges(), backends("only"))


@pytest.fixture(scope="module")
def module_edge() -> Iterator[Edge]:
    """The same for tests that only ask."""
    with _short_directory() as directory:
        one, backend = Edge(_config(directory), directory, Signer()), Backend("only")
        try:
            one.start()
            yield _with_one_backend(one, backend)
        finally:
            one.stop()
            backend.stop()


@pytest.fixture
def ports() -> Callable[[int], list[int]]:
    """Finds ports that were free a moment ago."""
    return free_ports


@pytest.fixture
def chroma(ports: Any, tmp_path: Path) -> Iterator[int]:
    """A real ChromaDB server; gives its port."""
    port = ports(1)[0]
    command = (str(Path(sys.executable).parent / "chroma"), "run", "--path", str(tmp_path / "chroma"))
    process = after_kill.start(
        (*command, "--host", "127.0.0.1", "--port", str(port)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: httpx.get(f"http://127.0.0.1:{port}/api/v2/heartbeat").status_code == 200, "chroma", 60.0)
        yield port
    finally:
        process.terminate()
        process.wait(20)


class Leaf:
    """Certificates for localhost by one authority, written to the same two files again and again."""

    def __init__(self, directory: Path) -> None:
        self._authority = make_authority("tests", now_s=time.time())
        self.authority_file = directory / "ca.crt"
        self.authority_file.write_bytes(self._authority.certificate)
        self.files = Tls(certificate_file=directory / "edge.crt", key_file=directory / "edge.key")
        self.renew()

    def renew(self) -> None:
        """Write a new key and certificate."""
        pair = make_leaf(self._authority, "edge", ["localhost", "127.0.0.1"], now_s=time.time())
        self.files.certificate_file.write_bytes(pair.certificate)
        self.files.key_file.write_bytes(pair.key)

    def trust(self) -> ssl.SSLContext:
        """What a client that trusts the authority uses."""
        return ssl.create_default_context(cafile=str(self.authority_file))


@pytest.fixture
def leaf(tmp_path: Path) -> Leaf:
    """A certificate of an authority, which can be renewed."""
    return Leaf(tmp_path)
