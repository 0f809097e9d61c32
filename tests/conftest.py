"""Fixtures for every kind of test."""

import socket

import pytest

from support.postgresql import postgresql_cluster, postgresql_database

# One cluster for the whole session, whoever asks for it: only what this file knows is shared by all folders.
__all__ = ["free_port", "postgresql_cluster", "postgresql_database"]


@pytest.fixture
def free_port() -> int:
    """A TCP port that was free on loopback a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
