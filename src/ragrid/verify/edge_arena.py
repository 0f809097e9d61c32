"""Where the edge is measured: a plain nginx proxy and the edge as it is rendered, over one upstream.

Both have the same number of workers, send on the same header fields and write the same access log, which the plain one
takes from the edge's rendered file (with fixed text for what it cannot know), as it does the settings of TLS.
"""

import contextlib
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from joserfc.jwk import ECKey

from ragrid.errors import RagridError
from ragrid.gateway.config import GatewayConfig, Tls
from ragrid.gateway.render import UPSTREAM_IDLE_S, render_nginx
from ragrid.system.certificates import make_authority, make_leaf
from ragrid.system.files import PRIVATE, write_atomic
from ragrid.verify.edge_process import (
    WORKERS,
    edge_config,
    edge_state,
    edge_tokens,
    free_ports,
    nginx_conf,
    start_edge,
    start_nginx,
)

PATH = "/memory/v1/records/bench"
BODY = json.dumps({"text": "x" * 1000}) + "\n"


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
        upstream = free_ports(1)[0]
        _start_upstream(stack, directory / "upstream", upstream)
        key = ECKey.generate_key("P-256", {"alg": "ES256"}, auto_kid=True)
        config = edge_config(directory / "edge", tls=_certificate(directory) if is_tls else None)
        plain = _start_plain(stack, directory / "plain", edge=config, upstream=upstream)
        process = start_edge(stack, config, edge_state(key, {"bench-1": upstream}))
        edge = Proxy(
            "edge",
            f"{'https' if config.tls else 'http'}://127.0.0.1:{config.https_port or config.http_port}{PATH}",
            process,
        )
        yield Arena(plain, edge, tuple(edge_tokens(key)), directory)


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
    start_nginx(stack, directory, {"nginx.conf": nginx_conf(directory, server, workers=1).encode()}, port)


def _start_plain(stack: contextlib.ExitStack, directory: Path, *, edge: GatewayConfig, upstream: int) -> Proxy:
    shared, port = _shared_with_plain(render_nginx(edge)["nginx.conf"].decode()), free_ports(1)[0]
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
    conf = nginx_conf(directory, server, workers=WORKERS)
    process = start_nginx(stack, directory, {"nginx.conf": conf.encode()}, port)
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
