"""Where failures are measured: an edge over three instances of one service, each to be killed, stopped and started."""

import contextlib
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from joserfc.jwk import ECKey

from ragrid.gateway.config import GatewayConfig
from ragrid.gateway.state import GatewayState
from ragrid.verify.edge_process import (
    edge_config,
    edge_state,
    edge_tokens,
    free_ports,
    nginx_conf,
    start_edge,
    start_nginx,
)

#: What an instance does for each request, so that some are on it when it dies.
SERVICE_TIME_S = 0.01
PATH = "/memory/v1/records/bench"


@dataclass
class Instance:
    """One process behind the edge, which answers with its name."""

    name: str
    port: int
    directory: Path
    stack: contextlib.ExitStack
    modules: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        """Start it; returns when it takes connections."""
        conf = self._conf().encode()
        self.process = start_nginx(self.stack, self.directory, {"nginx.conf": conf}, self.port)

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self.process.kill()
        self.process.wait()

    def hang(self) -> None:
        """Stop it where it is: it keeps its connections, and the kernel goes on accepting new ones for it."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def _conf(self) -> str:
        modules = "".join(f"load_module {self.modules}/{name};\n" for name in _MODULES)
        server = f"""\
    lua_package_path "/usr/share/lua/5.1/?.lua;;";
    access_log off;
    keepalive_requests 1000000;
    server {{
        listen 127.0.0.1:{self.port};
        location / {{
            content_by_lua_block {{
                ngx.sleep({SERVICE_TIME_S})
                ngx.header["Content-Length"] = {len(self.name)}
                ngx.print("{self.name}")
            }}
        }}
    }}"""
        return f"{modules}master_process off;\n{nginx_conf(self.directory, server, workers=1)}"


_MODULES = ("ndk_http_module.so", "ngx_http_lua_module.so")


@dataclass(frozen=True)
class FailoverArena:
    """A running edge, its instances by name, and tokens that it takes: to read, and to write."""

    config: GatewayConfig
    instances: Mapping[str, Instance]
    tokens: tuple[str, ...]
    writers: tuple[str, ...]
    key: ECKey

    def state(self, names: tuple[str, ...], *, version: int) -> GatewayState:
        """Return the state in which only these instances are there."""
        return edge_state(self.key, {name: self.instances[name].port for name in names}, version=version)

    async def is_up(self, client: httpx.AsyncClient, name: str) -> bool:
        """Return what the edge's own page says of an instance."""
        page = await client.get(f"http://127.0.0.1:{self.config.metrics_port}/metrics")
        return re.search(rf'^gateway_instance_up\{{[^}}]*instance="{name}"\}} 1$', page.text, re.MULTILINE) is not None

    async def released(self, client: httpx.AsyncClient) -> int:
        """Return how many requests the edge has taken from silent instances."""
        page = await client.get(f"http://127.0.0.1:{self.config.metrics_port}/metrics")
        return sum(map(int, re.findall(r"^gateway_released_total\{.*\} (\d+)$", page.text, re.MULTILINE)))


@contextlib.contextmanager
def open_failover_arena() -> Iterator[FailoverArena]:
    """Start an edge and three instances; end them and leave no file."""
    # a unix socket's name must be short, and the platform's temporary folder may not be
    directory = Path(tempfile.mkdtemp(prefix="ragrid-bench-", dir="/tmp"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        config, key = edge_config(directory / "edge"), ECKey.generate_key("P-256", {"alg": "ES256"}, auto_kid=True)
        ports = zip("abc", free_ports(3), strict=True)
        instances = {
            name: Instance(name, port, directory / name, stack, config.modules_directory) for name, port in ports
        }
        for instance in instances.values():
            instance.start()
        start_edge(stack, config, edge_state(key, {name: one.port for name, one in instances.items()}))
        tokens, writers = tuple(edge_tokens(key)), tuple(edge_tokens(key, role="writer"))
        yield FailoverArena(config, instances, tokens, writers, key)
