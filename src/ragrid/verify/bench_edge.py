"""What the edge costs: the same load, in turns, through a plain nginx proxy and through the edge as it is rendered.

Both proxies run in temporary folders with the same number of workers, over one upstream that answers 1 KB of JSON. Both
send on the same header fields and write the same access log, which the plain one takes from the edge's rendered file
(with fixed text for what it cannot know). The edge does all it does in production: ES256 tokens (several, in turn),
scope and role, revocation, limits, balancing, health checks, metrics.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from joserfc import jwt
from joserfc.jwk import ECKey

from ragrid.errors import RagridError, UnreachableError
from ragrid.gateway.config import EdgeService, GatewayConfig
from ragrid.gateway.launch import nginx_command, prepare_for
from ragrid.gateway.lua import LUA_DIRECTORY
from ragrid.gateway.render import UPSTREAM_IDLE_S, render_nginx
from ragrid.gateway.state import Endpoint, GatewayState, ServiceState, dump_state, keys_from_jwks
from ragrid.identity.roles import BUILTIN_ROLES
from ragrid.system.process import find_program, run

ISSUER = "https://bench.test"
PATH = "/memory/v1/records/bench"
CONNECTIONS = 32
WORKERS = 2
TOKENS = 50
BODY = json.dumps({"text": "x" * 1000}) + "\n"
START_TIMEOUT_S = 10.0


def bench_edge(*, rounds: int = 5, seconds_per_round: float = 2.0) -> dict[str, Any]:
    """Return the throughput of the edge as a ratio of the plain proxy's, and the figures of both.

    `ratio` is the median of the rounds' ratios, because neighbours on the machine change between rounds but seldom
    within one. Raises MissingError without nginx or wrk, RagridError when any request was not answered with 200.
    """
    wrk = find_program("wrk", package="wrk")
    with _arena() as arena:
        arena.measure(wrk, arena.plain, 0.5)
        arena.measure(wrk, arena.edge, 0.5)
        pairs: list[tuple[Measured, Measured]] = []
        for number in range(rounds):
            # there and back again, so that what slows the machine down steadily hits both alike
            first, second = (arena.plain, arena.edge) if number % 2 == 0 else (arena.edge, arena.plain)
            runs = [
                (proxy, arena.measure(wrk, proxy, seconds_per_round / 2)) for proxy in (first, second, second, first)
            ]
            plain, edge = (_mean([run for one, run in runs if one is proxy]) for proxy in (arena.plain, arena.edge))
            pairs.append((plain, edge))
    return summarize(pairs)


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of wrk against one proxy; `cpu_us` is the proxy's processor time for each request."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float


def _mean(runs: Sequence[Measured]) -> Measured:
    return Measured(
        requests_per_s=statistics.fmean(one.requests_per_s for one in runs),
        p50_ms=statistics.fmean(one.p50_ms for one in runs),
        p99_ms=statistics.fmean(one.p99_ms for one in runs),
        cpu_us=statistics.fmean(one.cpu_us for one in runs),
    )


def summarize(pairs: Sequence[tuple[Measured, Measured]]) -> dict[str, Any]:
    """Return the documented object from (plain, edge) pairs."""
    rounds = [
        {
            "plain_requests_per_s": round(plain.requests_per_s),
            "edge_requests_per_s": round(edge.requests_per_s),
            "ratio": round(edge.requests_per_s / plain.requests_per_s, 3),
        }
        for plain, edge in pairs
    ]
    return {
        "ratio": round(statistics.median(one["ratio"] for one in rounds), 3),
        "plain": _medians([plain for plain, _ in pairs]),
        "edge": _medians([edge for _, edge in pairs]),
        "rounds": rounds,
    }


def _medians(runs: Sequence[Measured]) -> dict[str, float]:
    return {
        "requests_per_s": round(statistics.median(one.requests_per_s for one in runs)),
        "p50_ms": round(statistics.median(one.p50_ms for one in runs), 3),
        "p99_ms": round(statistics.median(one.p99_ms for one in runs), 3),
        "cpu_us_per_request": round(statistics.median(one.cpu_us for one in runs), 1),
    }


@dataclass(frozen=True, slots=True)
class _Proxy:
    name: str
    port: int
    process: subprocess.Popen[bytes]

    def cpu_s(self) -> float:
        """Return the processor time of its workers so far."""
        workers = psutil.Process(self.process.pid).children()
        return sum(times.user + times.system for times in (worker.cpu_times() for worker in workers))


@dataclass(frozen=True, slots=True)
class _Arena:
    plain: _Proxy
    edge: _Proxy
    script: Path

    def measure(self, wrk: Path, proxy: _Proxy, seconds: float) -> Measured:
        """Run wrk against `proxy`."""
        before_s = proxy.cpu_s()
        command = (
            *(str(wrk), "-t", "1", "-c", str(CONNECTIONS), "-d", f"{max(1, round(seconds))}s"),
            *("-s", str(self.script), f"http://127.0.0.1:{proxy.port}{PATH}"),
        )
        said = json.loads(run(command, timeout_s=seconds + 20).stdout.strip().splitlines()[-1])
        if said["errors"] or not said["requests"]:
            raise RagridError(
                f"bench: {proxy.name}: {said['errors']} of {said['requests']} requests failed; not a result"
            )
        return Measured(
            requests_per_s=said["requests"] / (said["duration_us"] / 1e6),
            p50_ms=said["p50_us"] / 1000,
            p99_ms=said["p99_us"] / 1000,
            cpu_us=(proxy.cpu_s() - before_s) * 1e6 / said["requests"],
        )


@contextlib.contextmanager
def _arena() -> Iterator[_Arena]:
    """Start upstream, plain proxy and edge; stop them and leave no file."""
    # a unix socket's name must be short, and the platform's temporary folder may not be
    directory = Path(tempfile.mkdtemp(prefix="ragrid-bench-", dir="/tmp"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        upstream, plain, edge, metrics = _free_ports(4)
        _start_upstream(stack, directory / "upstream", upstream)
        key = ECKey.generate_key("P-256", {"alg": "ES256"}, auto_kid=True)
        config = _edge_config(directory / "edge", port=edge, metrics_port=metrics)
        plain_proxy = _start_plain(stack, directory / "plain", edge=config, port=plain, upstream=upstream)
        edge_proxy = _start_edge(stack, config, _state(key, upstream))
        script = directory / "tokens.lua"
        script.write_text(_wrk_script(key))
        yield _Arena(plain_proxy, edge_proxy, script)


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


def _start_plain(
    stack: contextlib.ExitStack, directory: Path, *, edge: GatewayConfig, port: int, upstream: int
) -> _Proxy:
    log_format, fields = _shared_with_plain(render_nginx(edge)["nginx.conf"].decode())
    server = f"""\
    log_format same {log_format};
    keepalive_requests 100000;
    access_log {directory}/access.log same buffer=64k flush=1s;
    upstream backend {{
        server 127.0.0.1:{upstream};
        keepalive 64;
        keepalive_timeout {UPSTREAM_IDLE_S}s;
        keepalive_requests 100000;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_http_version 1.1;
            {fields}
            proxy_pass http://backend;
        }}
    }}"""
    conf = _nginx_conf(directory, server, workers=WORKERS)
    return _Proxy("plain", port, _start(stack, directory, {"nginx.conf": conf.encode()}, port))


def _shared_with_plain(edge_conf: str) -> tuple[str, str]:
    """Return the log format and the header fields of a rendered edge, as a proxy without Lua can have them."""
    found = re.search(r"log_format edge (.*?);\n", edge_conf, re.DOTALL)
    if found is None:
        raise RagridError("bench: the rendered edge has no access log; nothing to compare with")
    log_format = re.sub(r"\$ragrid_[a-z_]+", "0123456789abcdef", found[1])
    lines = re.findall(r"proxy_set_header [^\n]*;", edge_conf)
    return log_format, "\n".join(dict.fromkeys(line for line in lines if "$ragrid" not in line and "Auth" not in line))


def _start_edge(stack: contextlib.ExitStack, config: GatewayConfig, state: GatewayState) -> _Proxy:
    directory = config.state_file.parent
    directory.mkdir()
    config.state_file.write_bytes(dump_state(state))
    prepare_for(config)
    return _Proxy("edge", config.http_port, _start(stack, directory, render_nginx(config), config.http_port))


def _edge_config(directory: Path, *, port: int, metrics_port: int) -> GatewayConfig:
    return GatewayConfig(
        issuer=ISSUER,
        http_port=port,
        metrics_port=metrics_port,
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
        with contextlib.suppress(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{port}/health", timeout=1)
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


def _wrk_script(key: ECKey) -> str:
    """Return a script that sends the tokens in turn and prints one line of JSON at the end."""
    requests = ",\n".join(f'wrk.format("GET", nil, {{["Authorization"] = "Bearer {token}"}})' for token in _tokens(key))
    return f"""\
local requests
local turn = 0
function init() requests = {{ {requests} }} end
function request() turn = turn % #requests + 1; return requests[turn] end
function done(summary, latency)
  local e = summary.errors
  local errors = e.connect + e.read + e.write + e.status + e.timeout
  print(string.format('{{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"errors":%d}}', summary.requests,
    summary.duration, latency:percentile(50), latency:percentile(99), errors))
end
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
