"""An Issuer on a real store in a temporary folder, with a clock that stands still."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.token_desk import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    one = Desk(tmp_path)
    one.start()
    yield one
    one.stop()
