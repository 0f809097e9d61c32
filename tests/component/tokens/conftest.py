"""The real token service as a process of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.token_service import TokenService, make_service


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
