"""A grid whose own services speak TLS and ask everybody for a certificate: all of it works, and nobody else gets in."""

import ssl
from collections.abc import Iterator

import httpx
import pytest

from support.running_grid import RunningGrid, eventually, grid_document, running_grid


@pytest.fixture(scope="module")
def strict_grid() -> Iterator[RunningGrid]:
    document = grid_document(name="strict", services={"rag": {"embedder": {"kind": "hashing"}}})
    document["gateway"]["mutual_tls"] = True
    with running_grid(document) as running:
        yield running


def own_services(grid: RunningGrid) -> dict[str, int]:
    document = grid.document
    return {
        "tokens": document["auth"]["port"],
        **{name: document["services"][name]["port"] for name in ("memory", "rag")},
    }


def client(grid: RunningGrid, certificate: str | None) -> httpx.Client:
    context = ssl.create_default_context(cafile=str(grid.authority))
    if certificate:
        folder = grid.authority.parent
        context.load_cert_chain(folder / f"{certificate}.crt", folder / f"{certificate}.key")
    return httpx.Client(verify=context, trust_env=False)


def test_everything_that_speaks_to_the_services_can(strict_grid: RunningGrid) -> None:
    """The gateway and its checks, the controller, the agent, Prometheus: the status is what all of them say."""
    eventually(lambda: bool(strict_grid.status()["healthy"]), "all parts are healthy and scraped")
    strict_grid.ok("ingest", "examples/documents")
    assert strict_grid.json("ask", "How do I stop the grid without losing data?")["citations"]
    with strict_grid.client(strict_grid.token("admin")) as caller:
        assert caller.get("/tokens/v1/clients").status_code == 200
        assert caller.get("/memory/v1/memories").status_code == 200


@pytest.mark.parametrize("service", ["memory", "rag", "tokens"])
def test_nobody_else_is_answered(strict_grid: RunningGrid, service: str) -> None:
    port = own_services(strict_grid)[service]
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False)
    with client(strict_grid, None) as stranger, pytest.raises(httpx.TransportError):
        stranger.get(f"https://127.0.0.1:{port}/healthz")
    with client(strict_grid, "service-client") as known:
        assert known.get(f"https://127.0.0.1:{port}/healthz").status_code == 200
