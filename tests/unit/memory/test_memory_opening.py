"""A store in PostgreSQL is refused before it is opened when its settings cannot be kept."""

import contextlib
from pathlib import Path

import pytest

from ragrid.errors import StateError
from ragrid.services.memory.opening import open_store
from ragrid.spec.settings import Listen, MemorySettings, TokenTrust
from ragrid.web.progress import Progress


def kept_in_postgresql(tmp_path: Path, *, file: Path | None, max_store_bytes: int | None = None) -> MemorySettings:
    return MemorySettings(
        listen=Listen(port=1),
        trust=TokenTrust(issuer="https://grid.test", audience="memory", jwks_file=tmp_path / "jwks.json"),
        data_directory=tmp_path,
        store="postgresql",
        database_url_file=file,
        max_store_bytes=max_store_bytes,
    )


async def opened(settings: MemorySettings) -> object:
    return await open_store(settings, Progress(), contextlib.ExitStack())


@pytest.mark.parametrize("file", [None, Path("/no/such/file")])
async def test_an_address_that_is_not_there_is_named(file: Path | None, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="database_url_file" if file is None else "/no/such/file"):
        await opened(kept_in_postgresql(tmp_path, file=file))


async def test_a_bound_that_would_not_be_kept_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="max_store_bytes: got 1000, wanted none with postgresql"):
        await opened(kept_in_postgresql(tmp_path, file=None, max_store_bytes=1000))
