"""Where the edge is measured: a plain nginx proxy and the edge as it is rendered, over one upstream.

Both have the same number of workers, send on the same header fields and write the same access log, which the plain one
takes from the edge's rendered file (with fixed text for what it cannot know), as it does the settings of TLS.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
from joserfc import jwt
from joserfc.jwk import ECKey

from ragrid.errors import RagridError, UnreachableError
from ragrid.gateway.config import EdgeService, GatewayConfig, Tls
from ragrid.gateway.launch import nginx_command, prepare_for
from ragrid.gateway.lua import LUA_DIRECTORY
from ragrid.gateway.render import UPSTREAM_IDLE_S, render_nginx
from ragrid.gateway.state import Endpoint, GatewayState, ServiceState, dump_state, keys_from_jwks
from ragrid.identity.roles import BUILTIN_ROLES
from ragrid.system.certificates import make_authority, make_leaf
from ragrid.system.files import PRIVATE, write_atomic

ISSUER = "https://bench.test"
PATH = "/memory/v1/records/bench"
WORKERS = 2
TOKENS = 50
BODY = json.dumps({"text": "x" * 1000}) + "\n"
START_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Proxy:
    """One nginx under load."""

    name: str
    url: str
    process: subprocess.Popen[bytes]

    def cpu_s(self) -> float:
        """Return the processor time of its workers so far."""
        workers = psutil.Process(self.process.pid).children()
        return sum(times.user + times.system for times in (worker.cpu_times() for worker in workers))


@dataclass(frozen=True, slots=True)
class Arena:
    """Two proxies over one upstream, and the tokens that the edge takes."""

    plain: Proxy
    edge: Proxy
    tokens: tuple[str, ...]
    directory: Path


@contextlib.contextmanager
def open_arena(*, is_tls: bool) -> Iterator[Arena]:
    """Start upstream, plain proxy and edge, both with TLS or both without; stop them and leave no file."""
    # a unix socket's name must be short, and the platform's temporary folder may not be
    directory = Path(tempfile.mkdtemp(prefix="ragrid-bench-", dir="/tmp"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        upstream = _free_ports(1)[0]
        _start_upstream(stack, directory / "upstream", upstream)
        key = ECKey.generate_key("P-256", {"alg": "ES256"}, auto_kid=True)
        config = _edge_config(directory / "edge", tls=_certificate(directory) if is_tls else None)
        plain = _start_plain(stack, directory / "plain", edge=config, upstream=upstream)
        edge = _start_edge(stack, config, _state(key, upstream))
        yield Arena(plain, edge, tuple(_tokens(key)), directory)


def _certificate(directory: Path) -> Tls:
    now_s = time.time()
    pair = make_leaf(make_authority("bench", now_s=now_s), "bench", ["127.0.0.1"], now_s=now_s)
    files = Tls(certificate_file=directory / "tls.crt", key_file=directory / "tls.key")
    write_atomic(files.certificate_file, pair.certificate)
    write_atomic(files.key_file, pair.key, mode=PRIVATE)
    return files


def _start_upstream(stack: contextlib.ExitStack, directory: Path, port: int) -> None:
    server = f"""\
    keepalive_requests 1000000;
    access_log off;
    server {{
        listen 127.0.0.1:{port};
        default_type application/json;
        location / {{ return 200 '{BODY.strip()}'; }}
    }}"""
    _start(stack, directory, {"nginx.conf": _nginx_conf(directory, server, workers=1).encode()}, port)


def _start_plain(stack: contextlib.ExitStack, directory: Path, *, edge: GatewayConfig, upstream: int) -> Proxy:
    shared, port = _shared_with_plain(render_nginx(edge)["nginx.conf"].decode()), _free_ports(1)[0]
    server = f"""\
    log_format same {shared.log_format};
    keepalive_requests 100000;
    access_log {directory}/access.log same buffer=64k flush=1s;
    upstream backend {{
        server 127.0.0.1:{upstream};
        keepalive 64;
        keepalive_timeout {UPSTREAM_IDLE_S}s;
        keepalive_requests 100000;
    }}
    server {{
        listen 127.0.0.1:{port}{" ssl" if edge.tls else ""};
        {shared.tls}
        location / {{
            proxy_http_version 1.1;
            {shared.fields}
            proxy_pass http://backend;
        }}
    }}"""
    conf = _nginx_conf(directory, server, workers=WORKERS)
    process = _start(stack, directory, {"nginx.conf": conf.encode()}, port)
    return Proxy("plain", f"{'https' if edge.tls else 'http'}://127.0.0.1:{port}{PATH}", process)


@dataclass(frozen=True, slots=True)
class _Shared:
    """What the plain proxy takes from a rendered edge, as nginx without Lua can have it."""

    log_format: str
    fields: str
    tls: str


def _shared_with_plain(edge_conf: str) -> _Shared:
    found = re.search(r"log_format edge (.*?);\n", edge_conf, re.DOTALL)
    if found is None:
        raise RagridError("bench: the rendered edge has no access log; nothing to compare with")
    fields = re.findall(r"proxy_set_header [^\n]*;", edge_conf)
    return _Shared(
        log_format=re.sub(r"\$ragrid_[a-z_]+", "0123456789abcdef", found[1]),
        fields="\n".join(dict.fromkeys(line for line in fields if "$ragrid" not in line and "Auth" not in line)),
        tls="\n".join(re.findall(r"^ *(ssl_[^\n]*;)", edge_conf, re.MULTILINE)),
    )


def _start_edge(stack: contextlib.ExitStack, config: GatewayConfig, state: GatewayState) -> Proxy:
    directory = config.state_file.parent
    directory.mkdir()
    config.state_file.write_bytes(dump_state(state))
    prepare_for(config)
    port = config.https_port or config.http_port
    process = _start(stack, directory, render_nginx(config), port)
    return Proxy("edge", f"{'https' if config.tls else 'http'}://127.0.0.1:{port}{PATH}", process)


def _edge_config(directory: Path, *, tls: Tls | None) -> GatewayConfig:
    http, https, metrics = _free_ports(3)
    return GatewayConfig(
        issuer=ISSUER,
        http_port=http,
        https_port=https if tls else None,
        tls=tls,
        metrics_port=metrics,
        run_directory=directory / "run",
        log_directory=directory / "log",
        lua_directory=LUA_DIRECTORY,
        admin_socket=directory / "run" / "admin.sock",
        state_file=directory / "state.json",
        services=(EdgeService(name="memory"),),
        workers=WORKERS,
        user="root" if os.geteuid() == 0 else None,
    )


def _state(key: ECKey, upstream: int) -> GatewayState:
    endpoint = Endpoint(id="bench-1", host="127.0.0.1", port=upstream)
    return GatewayState(
        version=1,
        keys=keys_from_jwks(json.dumps({"keys": [key.as_dict(private=False)]}).encode()),
        services={"memory": ServiceState(endpoints=(endpoint,))},
        roles=dict(BUILTIN_ROLES),
    )


def _start(
    stack: contextlib.ExitStack, directory: Path, files: Mapping[str, bytes], port: int
) -> subprocess.Popen[bytes]:
    directory.mkdir(exist_ok=True)
    for name, content in files.items():
        (directory / name).write_bytes(content)
    with (directory / "stderr.log").open("wb") as log:
        process = subprocess.Popen(nginx_command(directory), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    stack.callback(_stop, process)
    end_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end_s and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return process
        time.sleep(0.02)
    raise UnreachableError(f"bench: nginx did not start: {(directory / 'stderr.log').read_text()[-2000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)


def _nginx_conf(directory: Path, http: str, *, workers: int) -> str:
    user = "user root;\n" if os.geteuid() == 0 else ""
    temporary = "\n".join(
        f"    {name}_temp_path {directory}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""\
{user}daemon off;
worker_processes {workers};
pid {directory}/nginx.pid;
error_log stderr error;
events {{ worker_connections 1024; }}
http {{
{temporary}
{http}
}}
"""


def _tokens(key: ECKey) -> list[str]:
    now_s = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": ["chromadb", "memory", "rag", "vllm"],
        "client_id": "bench",
        "tenant": "default_tenant",
        "scope": " ".join(BUILTIN_ROLES["reader"]),
        "roles": ["reader"],
        "iat": now_s,
        "exp": now_s + 3600,
    }
    header = {"alg": "ES256", "typ": "at+jwt", "kid": key.kid}
    return [
        jwt.encode(header, {**claims, "sub": f"caller-{number}", "jti": f"bench-{number}"}, key)
        for number in range(TOKENS)
    ]


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in held]
