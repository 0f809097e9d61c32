"""The real token service as a process of its own, and its issuer in this one, on a real store in a temporary folder."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.token_desk import Desk
from support.token_service import TokenService, make_service

#: Each change is synced to disk; what that costs and promises is the contract tests' business, on a real disk.
MEMORY_DISK = "/dev/shm"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenService]:
    """One running service for tests that leave no trace."""
    service = make_service(tmp_path_factory.mktemp("tokens"))
    try:
        service.start()
        yield service
    finally:
        service.close()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[TokenService]:
    """A service of one test's own, not started yet."""
    service = make_service(tmp_path)
    try:
        yield service
    finally:
        service.close()


@pytest.fixture
def desk() -> Iterator[Desk]:
    """An issuer on an empty store, with a clock that stands still."""
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK if os.access(MEMORY_DISK, os.W_OK) else None) as folder:
        one = Desk(Path(folder))
        one.start()
        yield one
        one.stop()
