"""A real ChromaDB, and the rag service in this process in front of it."""

import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragrid.inference.model_files import ensure_model
from ragrid.services.rag.app import build
from ragrid.spec.settings import EmbedderSettings, GeneratorSettings, Listen, RagSettings, TokenTrust
from support.http_server import GridServer
from support.rag_service import EXTRACTIVE, HASHING, Chroma, OpenRag, Rag
from support.token_mint import ISSUER, TokenMint


@pytest.fixture(scope="module")
def chroma(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chroma]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    one = Chroma(tmp_path_factory.mktemp("chroma"), port)
    one.start()
    yield one
    one.stop()


@pytest.fixture(scope="session")
def model_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def open_rag(tmp_path: Path) -> OpenRag:
    """Opens the service on a gateway address; each test has its own log, tenants keep their vectors apart."""

    @asynccontextmanager
    async def opened(
        gateway_url: str,
        *,
        embedder: EmbedderSettings = HASHING,
        generator: GeneratorSettings = EXTRACTIVE,
        tenant: str | None = None,
        **members: Any,
    ) -> AsyncIterator[Rag]:
        mint = TokenMint()
        (tmp_path / "jwks.json").write_bytes(mint.jwks)
        settings = RagSettings(
            listen=Listen(port=1),
            trust=TokenTrust(issuer=ISSUER, audience="rag", jwks_file=tmp_path / "jwks.json"),
            data_directory=tmp_path / "rag",
            gateway_url=gateway_url,
            gateway_ca_file=None,
            embedder=embedder,
            generator=generator,
            **members,
        )
        application = build(settings, mint.clock)
        transport = httpx.ASGITransport(app=application)
        async with (
            application.router.lifespan_context(application),
            httpx.AsyncClient(transport=transport, base_url="http://rag") as client,
        ):
            yield Rag(client, mint, tenant or f"tenant-{tmp_path.name}")

    return opened


@pytest.fixture
def model_server() -> Iterator[GridServer]:
    """A server that answers as a model server would, byte for byte as the test says."""
    one = GridServer()
    thread = threading.Thread(target=one.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield one
    one.server.shutdown()
    one.server.server_close()
    thread.join(5)
