"""The three registries under test; a session starts each real server once, every test has a namespace of its own."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from ragrid.registry.protocol import Registry
from support.registry_product import Product
from support.registry_servers import Server, consul_server, etcd_server


@pytest.fixture(scope="session", params=["memory", "etcd", "consul"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Server | None]]:
    kind: str = request.param
    if kind == "memory":
        yield kind, None
        return
    make: Callable[[Path], Server] = etcd_server if kind == "etcd" else consul_server
    server = make(tmp_path_factory.mktemp(kind))
    try:
        server.start()
        yield kind, server
    finally:
        server.stop()


@pytest.fixture
def product(served: tuple[str, Server | None]) -> Product:
    return Product(*served)


@pytest_asyncio.fixture
async def registry(product: Product) -> AsyncIterator[Registry]:
    one = product.open()
    yield one
    await one.close()
