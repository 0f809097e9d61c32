"""A real HTTP server on a free port for each test."""

import threading
from collections.abc import Iterator

import pytest

from support.http_server import GridServer


@pytest.fixture
def grid() -> Iterator[GridServer]:
    """A running server."""
    one = GridServer()
    thread = threading.Thread(target=one.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield one
    finally:
        for gate in one.gates:
            gate.set()
        one.server.shutdown()
        one.server.server_close()
        thread.join(5)
