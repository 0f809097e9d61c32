"""One grid for all tests that leave it as they found it; a test that hurts its grid makes one of its own."""

from collections.abc import Iterator

import pytest

from support.running_grid import RunningGrid, grid_document, running_grid


@pytest.fixture(scope="session")
def grid() -> Iterator[RunningGrid]:
    with running_grid(grid_document()) as running:
        yield running
