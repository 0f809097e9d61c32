"""A service that listens with TLS answers nobody without a certificate of its authority, and takes up a new one."""

import os
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

from ragrid.system.certificates import KeyPair, make_authority, make_leaf
from support import after_kill

TESTS = Path(__file__).parents[2]
NAME = "service.test"


@dataclass
class Files:
    """Certificates in one folder."""

    directory: Path

    def write(self, name: str, pair: KeyPair) -> tuple[Path, Path]:
        files = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        for file, content in zip(files, (pair.certificate, pair.key), strict=True):
            file.write_bytes(content)
        return files


@dataclass
class Running:
    """The service, and how to speak to it."""

    port: int
    files: Files
    ours: KeyPair

    def client(self, certificate: tuple[Path, Path] | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.files.directory / "ours.crt"))
        if certificate:
            context.load_cert_chain(*certificate)
        return context

    def leaf(self, authority: KeyPair, name: str) -> tuple[Path, Path]:
        return self.files.write(name, make_leaf(authority, name, [name], now_s=time.time()))

    def ask(self, certificate: tuple[Path, Path] | None) -> tuple[bytes, bytes]:
        """Return the first line of an answer and the certificate that the service showed."""
        context = self.client(certificate)
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=NAME) as connection,
        ):
            shown = connection.getpeercert(binary_form=True) or b""
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: service\r\nConnection: close\r\n\r\n")
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
            return answer.split(b"\r\n")[0], shown

    def refuses(self, certificate: tuple[Path, Path] | None) -> bool:
        """With TLS 1.3 the refusal comes after the caller's handshake: as an error, or as an end without an answer."""
        try:
            return self.ask(certificate)[0] == b""
        except OSError:
            return True


@pytest.fixture
def service(free_port: int, tmp_path: Path) -> Iterator[Running]:
    files, ours = Files(tmp_path), make_authority("ours", now_s=time.time())
    files.write("ours", ours)
    running = Running(free_port, files, ours)
    shown = running.leaf(ours, NAME)
    command = (
        sys.executable,
        "-m",
        "support.slow_service",
        str(free_port),
        *map(str, shown),
        str(tmp_path / "ours.crt"),
    )
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = after_kill.start(
            command,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        _wait_for(lambda: running.ask(running.leaf(ours, "gateway"))[0] == b"HTTP/1.1 200 OK", log)
        yield running
    finally:
        process.kill()
        process.wait(timeout=10)


def _wait_for(condition: Callable[[], bool], log: Path) -> None:
    deadline_s, seen = time.monotonic() + 30, "nothing"
    while time.monotonic() < deadline_s:
        try:
            if condition():
                return
        except OSError as error:
            seen = repr(error)
        time.sleep(0.05)
    pytest.fail(f"seen last: {seen}; log: {log.read_text()}")


def test_who_shows_no_certificate_or_another_authoritys_gets_no_answer(service: Running) -> None:
    theirs = make_authority("theirs", now_s=time.time())
    assert service.refuses(None)
    assert service.refuses(service.leaf(theirs, "gateway"))
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{service.port}/healthz")
    assert service.ask(service.leaf(service.ours, "gateway"))[0] == b"HTTP/1.1 200 OK"


def test_a_renewed_certificate_is_taken_up_without_a_restart(service: Running, tmp_path: Path) -> None:
    caller = service.leaf(service.ours, "gateway")
    before = service.ask(caller)[1]
    service.leaf(service.ours, NAME)
    _wait_for(lambda: service.ask(caller)[1] not in (b"", before), tmp_path / "log")


def test_half_a_renewal_does_no_harm(service: Running, tmp_path: Path) -> None:
    caller = service.leaf(service.ours, "gateway")
    before = service.ask(caller)[1]
    (tmp_path / f"{NAME}.crt").write_bytes(b"half")
    for _ in range(3):
        assert service.ask(caller) == (b"HTTP/1.1 200 OK", before)
    _wait_for(lambda: "a new certificate cannot be used" in (tmp_path / "log").read_text(), tmp_path / "log")
