"""Processes of a measurement's own: an edge as it is rendered, and plain nginx; started, waited for, ended."""

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from joserfc import jwt
from joserfc.jwk import ECKey

from ragrid.errors import UnreachableError
from ragrid.gateway.config import EdgeService, GatewayConfig, Tls
from ragrid.gateway.launch import nginx_command, prepare_for
from ragrid.gateway.lua import LUA_DIRECTORY
from ragrid.gateway.render import render_nginx
from ragrid.gateway.state import Endpoint, GatewayState, ServiceState, dump_state, keys_from_jwks
from ragrid.identity.roles import BUILTIN_ROLES

ISSUER = "https://bench.test"
WORKERS = 2
TOKENS = 50
START_TIMEOUT_S = 10.0


def start_edge(stack: contextlib.ExitStack, config: GatewayConfig, state: GatewayState) -> subprocess.Popen[bytes]:
    """Start an edge that has `state` from its disk; it ends with `stack`."""
    directory = config.state_file.parent
    directory.mkdir()
    config.state_file.write_bytes(dump_state(state))
    prepare_for(config)
    return start_nginx(stack, directory, render_nginx(config), config.https_port or config.http_port)


def edge_config(directory: Path, *, tls: Tls | None = None) -> GatewayConfig:
    """Return an edge for the memory service alone, on free ports."""
    http, https, metrics = free_ports(3)
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


def edge_state(key: ECKey, ports: Mapping[str, int], *, version: int = 1) -> GatewayState:
    """Return a state in which memory has an instance on each of `ports`, by the instances' names."""
    endpoints = tuple(Endpoint(id=name, host="127.0.0.1", port=port) for name, port in sorted(ports.items()))
    return GatewayState(
        version=version,
        keys=keys_from_jwks(json.dumps({"keys": [key.as_dict(private=False)]}).encode()),
        services={"memory": ServiceState(endpoints=endpoints)},
        roles=dict(BUILTIN_ROLES),
    )


def edge_tokens(key: ECKey, *, role: str = "reader") -> list[str]:
    """Return tokens of several callers with that role, good for an hour."""
    now_s = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": ["chromadb", "memory", "rag", "vllm"],
        "client_id": "bench",
        "tenant": "default_tenant",
        "scope": " ".join(BUILTIN_ROLES[role]),
        "roles": [role],
        "iat": now_s,
        "exp": now_s + 3600,
    }
    header = {"alg": "ES256", "typ": "at+jwt", "kid": key.kid}
    return [
        jwt.encode(header, {**claims, "sub": f"caller-{number}", "jti": f"bench-{number}"}, key)
        for number in range(TOKENS)
    ]


def start_nginx(
    stack: contextlib.ExitStack, directory: Path, files: Mapping[str, bytes], port: int
) -> subprocess.Popen[bytes]:
    """Start nginx over `files` in `directory`, to end with `stack`. Raises UnreachableError when it does not listen."""
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


def nginx_conf(directory: Path, http: str, *, workers: int) -> str:
    """Return a configuration that writes only below `directory`."""
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


def free_ports(number: int) -> list[int]:
    """Return ports that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in held]
