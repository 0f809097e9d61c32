"""Real registry servers on free ports, for the contract suite and the component tests of several areas."""

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from ragrid.system.certificates import make_authority, make_leaf
from support import after_kill

ROOT = Path(__file__).resolve().parents[2]
FETCH = ROOT / "scripts" / "fetch_package.py"
CONSUL_CACHE = ROOT / ".cache" / "parts" / "consul"
START_S = 30.0


def missing(what: str) -> None:
    """A real part is missing: a failure where CI says so, else a skip."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


#: Ports that were handed out before: nobody may listen on them yet, and they are somebody's all the same.
_HANDED_OUT: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different, and none that this process was given before."""
    with contextlib.ExitStack() as held:
        found: list[int] = []
        for _ in range(count + len(_HANDED_OUT)):
            one = held.enter_context(socket.socket())
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            if port not in _HANDED_OUT:
                found.append(port)
            if len(found) == count:
                break
        _HANDED_OUT.update(found)
        return found


class Server:
    """One server process that can be killed, hung and brought back on the same ports with its data."""

    def __init__(
        self, command: list[str], url: str, log: Path, is_ready: Callable[[str], bool], *, data: Path | None = None
    ) -> None:
        self.command = command
        self.data = data
        self.url = url
        self._log = log
        self._is_ready = is_ready
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        self.launch()
        self.await_ready()

    def launch(self) -> None:
        """Start the process; a member of several is ready only once most of them run."""
        with self._log.open("ab") as log:
            self._process = after_kill.start(self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def await_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_S
        while not self._is_ready(self.url):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                said = self._log.read_text(errors="replace")[-2000:]
                pytest.fail(f"{self.command[0]} did not become ready: {said}")
            time.sleep(0.05)

    @contextlib.contextmanager
    def signalled(self, number: int) -> Iterator[None]:
        """Hang (SIGSTOP) or kill (any other signal) the process while the block runs; afterwards it serves again."""
        assert self._process is not None
        self._process.send_signal(number)
        if number == signal.SIGSTOP:
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)  # a thread of it may still answer before
            try:
                yield
            finally:
                self._process.send_signal(signal.SIGCONT)
        else:
            self._process.wait(timeout=10)
            self._process = None
            yield
            self.start()

    def kill(self) -> None:
        """End the process at once; `start` or `launch` brings it back with its data."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=10)
        self._process = None

    def start_anew(self) -> None:
        """Kill the process and bring it back with nothing; what has no folder keeps nothing anyway."""
        self.kill()
        if self.data is not None:
            shutil.rmtree(self.data)
        self.start()

    def stop(self) -> None:
        """End the process, however it is; calling it again is no error."""
        if self._process is None:
            return
        self._process.kill()
        self._process.send_signal(signal.SIGCONT)
        self._process.wait(timeout=10)
        self._process = None


def _answers(url: str, path: str, *, verify: ssl.SSLContext | bool = True, token: str = "") -> str | None:
    headers = {"X-Consul-Token": token} if token else {}
    try:
        answer = httpx.get(url + path, headers=headers, verify=verify, timeout=2.0, trust_env=False)
    except httpx.TransportError:
        return None
    return answer.text if answer.status_code == 200 else None


@dataclass(frozen=True)
class TlsFiles:
    """An authority, and one certificate of it for both ends."""

    authority: Path
    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.authority)
        context.load_cert_chain(self.certificate, self.key)
        return context


def make_tls(directory: Path) -> TlsFiles:
    """Make an authority and a certificate for this host with our own makers."""
    now_s = time.time()
    authority = make_authority("ragrid test", now_s=now_s)
    leaf = make_leaf(authority, "etcd", ["127.0.0.1", "localhost"], now_s=now_s)
    files = TlsFiles(directory / "ca.pem", directory / "leaf.pem", directory / "leaf.key")
    files.authority.write_bytes(authority.certificate)
    files.certificate.write_bytes(leaf.certificate)
    files.key.write_bytes(leaf.key)
    return files


def etcd_server(directory: Path, tls: TlsFiles | None = None) -> Server:
    """A real etcd whose data lies in `directory`, with `tls` one that wants client certificates; not started yet."""
    program = shutil.which("etcd")
    if program is None:
        missing("etcd is not installed: sudo apt-get install --no-install-recommends etcd-server")
    client, peer = free_ports(2)
    url, peer_url = f"http{'s' if tls else ''}://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    command = [
        str(program), "--data-dir", str(directory / "etcd"), "--log-level", "error",
        "--listen-client-urls", url, "--advertise-client-urls", url,
        "--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url,
        "--initial-cluster", f"default={peer_url}",
    ]  # fmt: skip
    if tls is not None:
        command += ["--cert-file", str(tls.certificate), "--key-file", str(tls.key)]
        command += ["--trusted-ca-file", str(tls.authority), "--client-cert-auth"]
    verify = tls.context() if tls else True

    def is_ready(address: str) -> bool:
        return _answers(address, "/health", verify=verify) == '{"health":"true"}'

    return Server(command, url, directory / "etcd.log", is_ready, data=directory / "etcd")


def etcd_members(directory: Path, count: int = 3) -> list[Server]:
    """Several real etcd servers of one cluster, not started yet: launch all, then wait for each."""
    program = shutil.which("etcd")
    if program is None:
        missing("etcd is not installed: sudo apt-get install --no-install-recommends etcd-server")
    clients, peers = (tuple(f"http://127.0.0.1:{port}" for port in free_ports(count)) for _ in range(2))
    cluster = ",".join(f"member{number}={url}" for number, url in enumerate(peers))

    def is_ready(address: str) -> bool:
        return _answers(address, "/health") == '{"health":"true"}'

    return [
        Server(
            [
                str(program), "--name", f"member{number}", "--data-dir", str(directory / f"member{number}"),
                "--listen-client-urls", client, "--advertise-client-urls", client,
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--initial-cluster", cluster, "--log-level", "error",
            ],
            client,
            directory / f"member{number}.log",
            is_ready,
            data=directory / f"member{number}",
        )
        for number, (client, peer) in enumerate(zip(clients, peers, strict=True))
    ]  # fmt: skip


def consul_program() -> Path:
    """The Consul that the tests run, fetched once."""
    fetched = subprocess.run(
        [sys.executable, str(FETCH), "consul", "--suite", "bullseye", "--into", str(CONSUL_CACHE)],
        capture_output=True,
        check=False,
        timeout=240,
    )
    if fetched.returncode != 0:
        missing(f"consul could not be fetched: {fetched.stderr.decode(errors='replace')[-500:]}")
    return CONSUL_CACHE / "usr" / "bin" / "consul"


def consul_server(
    directory: Path, *, hcl: str = "", token: str = "", dns_port: int = -1, tls: TlsFiles | None = None
) -> Server:
    """A real Consul agent in development mode (nothing on disk) with more configuration in `hcl`; not started yet.

    With `tls` it serves nothing but HTTPS, and wants client certificates.
    """
    http, serf_lan, serf_wan, server, grpc = free_ports(5)
    command = [
        str(consul_program()), "agent", "-dev", "-bind", "127.0.0.1", "-client", "127.0.0.1", "-log-level", "err",
        "-http-port", str(-1 if tls else http), "-https-port", str(http if tls else -1),
        "-serf-lan-port", str(serf_lan), "-serf-wan-port", str(serf_wan),
        "-server-port", str(server), "-dns-port", str(dns_port), "-grpc-port", str(grpc),
    ]  # fmt: skip
    if tls is not None:
        files = {"cert_file": tls.certificate, "key_file": tls.key, "ca_file": tls.authority}
        hcl = "\n".join([hcl, "verify_incoming_https = true", *(f'{name} = "{file}"' for name, file in files.items())])
    command += ["-hcl", hcl] if hcl else []
    verify = tls.context() if tls else True

    def is_ready(address: str) -> bool:
        leader = _answers(address, "/v1/status/leader", verify=verify, token=token)
        nodes = _answers(address, "/v1/health/state/passing", verify=verify, token=token) or ""
        return bool(leader and len(leader) > 4) and "serfHealth" in nodes

    return Server(command, f"http{'s' if tls else ''}://127.0.0.1:{http}", directory / "consul.log", is_ready)
