"""A client's certificate is shown anew after it was renewed on disk, and half a renewal does no harm."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from ragrid.system.certificates import KeyPair, make_authority, make_leaf
from ragrid.system.tls import RenewingContext, client_context

NAME = "localhost"


def write(directory: Path, name: str, pair: KeyPair) -> tuple[Path, Path]:
    files = directory / f"{name}.crt", directory / f"{name}.key"
    for file, content in zip(files, (pair.certificate, pair.key), strict=True):
        file.write_bytes(content)
    return files


@pytest.fixture
def authority(tmp_path: Path) -> KeyPair:
    pair = make_authority("ours", now_s=time.time())
    write(tmp_path, "ca", pair)
    return pair


@pytest.fixture
def shown(authority: KeyPair, tmp_path: Path) -> Iterator[tuple[str, list[bytes]]]:
    """The address of a server, and the certificates that its callers showed."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca.crt"))
    context.load_cert_chain(*write(tmp_path, "server", make_leaf(authority, NAME, [NAME], now_s=time.time())))
    context.verify_mode = ssl.CERT_REQUIRED
    found: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            with plain, contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as connection:
                found.append(connection.getpeercert(binary_form=True) or b"")
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield f"https://{NAME}:{listener.getsockname()[1]}/", found
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


@pytest.fixture
def renew(authority: KeyPair, tmp_path: Path) -> Callable[[], tuple[Path, Path]]:
    """Writes a new certificate of the client's over the old one."""
    return lambda: write(tmp_path, "client", make_leaf(authority, "client", ["client"], now_s=time.time()))


@pytest.fixture
def context(renew: Callable[[], tuple[Path, Path]], tmp_path: Path) -> RenewingContext:
    certificate, key = renew()
    return client_context(authority_file=tmp_path / "ca.crt", certificate_file=certificate, key_file=key)


async def test_a_renewed_certificate_is_shown_with_the_next_connection(
    context: RenewingContext, renew: Callable[[], tuple[Path, Path]], shown: tuple[str, list[bytes]]
) -> None:
    address, found = shown
    async with httpx.AsyncClient(verify=context, trust_env=False) as client:
        for _ in range(2):
            assert (await client.get(address)).status_code == 200
        renew()
        assert (await client.get(address)).status_code == 200
    assert found[0] == found[1] != found[2]


def test_a_blocking_client_shows_it_as_well(
    context: RenewingContext, renew: Callable[[], tuple[Path, Path]], shown: tuple[str, list[bytes]]
) -> None:
    address, found = shown
    for _ in range(2):
        with httpx.Client(verify=context, trust_env=False) as client:
            assert client.get(address).status_code == 200
        renew()
    assert len(set(found)) == 2


def test_half_a_renewal_does_no_harm(context: RenewingContext, tmp_path: Path, shown: tuple[str, list[bytes]]) -> None:
    address, found = shown
    for half in (lambda: (tmp_path / "client.crt").write_bytes(b"half"), (tmp_path / "client.crt").unlink):
        half()
        with httpx.Client(verify=context, trust_env=False) as client:
            assert client.get(address).status_code == 200
    assert len(set(found)) == 1


def test_a_file_that_is_not_there_is_told_at_once(tmp_path: Path, authority: KeyPair) -> None:
    with pytest.raises(OSError, match="nothing"):
        client_context(
            authority_file=tmp_path / "ca.crt", certificate_file=tmp_path / "nothing.crt", key_file=tmp_path / "ca.key"
        )


def test_a_server_of_another_authority_is_not_believed(
    renew: Callable[[], tuple[Path, Path]], shown: tuple[str, list[bytes]], tmp_path: Path
) -> None:
    write(tmp_path, "other", make_authority("other", now_s=time.time()))
    certificate, key = renew()
    stranger = client_context(authority_file=tmp_path / "other.crt", certificate_file=certificate, key_file=key)
    with httpx.Client(verify=stranger, trust_env=False) as client, pytest.raises(httpx.ConnectError):
        client.get(shown[0])
