"""Ports, seen through the real kernel."""

import os
import re
import socket
from collections.abc import Iterator

import pytest

from ragrid.errors import RagridError
from ragrid.system.ports import holder_of, is_free, listening_sockets, taken_text

EVERYWHERE = "0.0.0.0"  # noqa: S104 - asked about, never opened


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A loopback port that this process listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


def test_our_own_listener_is_found_with_pid_and_program(taken_port: int) -> None:
    found = holder_of(taken_port)
    assert found is not None
    assert (found.host, found.pid) == ("127.0.0.1", os.getpid())
    assert found.program
    assert found in listening_sockets()


def test_a_taken_port_is_refused_with_its_holder(taken_port: int) -> None:
    assert not is_free("127.0.0.1", taken_port)
    told = taken_text("a.b", "127.0.0.1", taken_port, holder_of(taken_port))
    assert re.match(rf"port {taken_port} on 127.0.0.1 is taken by .+\(pid {os.getpid()}\); set a.b", told)


def test_a_loopback_listener_stands_in_the_way_of_a_wildcard(taken_port: int) -> None:
    assert not is_free(EVERYWHERE, taken_port)
    assert holder_of(taken_port, EVERYWHERE) is not None


def test_a_port_with_connections_in_time_wait_is_free() -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as every server does; both sides must agree
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = listener.accept()
            accepted.close()  # the listening side closes first, so its end stays in TIME_WAIT
    assert is_free("127.0.0.1", port)


def test_an_address_of_another_machine_is_no_taken_port(free_port: int) -> None:
    with pytest.raises(RagridError, match="not an address of this machine"):
        is_free("192.0.2.1", free_port)
