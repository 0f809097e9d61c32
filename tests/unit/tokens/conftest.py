"""An Issuer on a real store in a temporary folder, with a clock that stands still."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.token_desk import Desk

#: Each change is synced to disk; what that costs and promises is the contract tests' business, on a real disk.
MEMORY_DISK = "/dev/shm"


@pytest.fixture
def desk() -> Iterator[Desk]:
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK if os.access(MEMORY_DISK, os.W_OK) else None) as folder:
        one = Desk(Path(folder))
        one.start()
        yield one
        one.stop()
