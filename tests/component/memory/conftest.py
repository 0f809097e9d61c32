"""The memory service as a real process."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.memory_process import MemoryProcess


@pytest.fixture
def make_service(tmp_path: Path, free_port: int) -> Iterator[Callable[..., MemoryProcess]]:
    made: list[MemoryProcess] = []

    def make(**options: Any) -> MemoryProcess:
        made.append(MemoryProcess(tmp_path, free_port, **options))
        return made[-1]

    yield make
    for one in made:
        if one.process is not None and one.process.poll() is None:
            one.kill()


@pytest.fixture
def service(make_service: Callable[..., MemoryProcess]) -> MemoryProcess:
    one = make_service()
    one.start()
    return one


@pytest.fixture
async def client(free_port: int) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=64)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{free_port}", limits=limits, timeout=30) as one:
        yield one
