"""Fixtures for every kind of test."""

import gc
import socket
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from support.postgresql import pgvector_cluster, postgresql_cluster, postgresql_database

# One cluster for the whole session, whoever asks for it: only what this file knows is shared by all folders.
__all__ = ["free_port", "pgvector_cluster", "postgresql_cluster", "postgresql_database"]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Let the garbage collector pass over what is imported and found: it stays to the end, and took 1 s of 7."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.fixture
def free_port() -> int:
    """A TCP port that was free on loopback a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose path is short whoever runs the tests: sockets below it must fit into 107 bytes."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="ragrid-") as made:
        yield Path(made)
