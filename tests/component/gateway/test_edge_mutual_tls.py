"""Mutual TLS from the edge to our own services: both prove who they are, and nothing is sent to anybody else."""

import socket
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragrid.gateway.config import EdgeService, MutualTls
from support.authority import SERVICE_NAME, Authority

READ = "/memory/v1/memories/1"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


@pytest.fixture
def edge(edges: Any, authority: Authority) -> Any:
    certificate, key = authority.leaf("gateway")
    mutual = MutualTls(
        certificate_file=certificate, key_file=key, authority_file=authority.file, server_name=SERVICE_NAME
    )
    services = tuple(EdgeService(name=name) for name in ("chromadb", "memory", "rag", "tokens", "vllm"))
    return edges(services=services, mutual_tls=mutual)


def test_our_own_services_are_spoken_to_in_tls_and_others_are_not(
    edge: Any, backends: Any, endpoint: Any, authority: Authority, wait_until: Any
) -> None:
    own, foreign = backends("own", tls=authority.server()), backends("foreign")
    ports = {"memory": own, "rag": own, "tokens": own, "chromadb": foreign, "vllm": foreign}
    edge.push({name: [endpoint(one.port)] for name, one in ports.items()})
    bearer = edge.signer.bearer()
    paths = {READ: "own", "/rag/v1/documents": "own", "/tokens/v1/clients": "own", "/v1/models": "foreign"}
    for path, name in paths.items():
        for _ in range(2):
            assert httpx.get(edge.url + path, headers=bearer).json()["backend"] == name
    wait_until(lambda: len(own.requests) - len(own.seen()) > 3, "the health checks get through as well")
    assert "gateway_instance_up" in edge.metrics()
    assert not [
        line for line in edge.metrics().splitlines() if line.startswith("gateway_instance_up") and line[-1] != "1"
    ]


def _impostor(kind: str, ours: Authority, theirs: Authority) -> ssl.SSLContext | None:
    return {"another name": ours.server("another.test"), "another authority": theirs.server(), "no TLS": None}[kind]


@pytest.mark.parametrize("kind", ["another name", "another authority", "no TLS"])
def test_nothing_is_sent_to_who_is_not_the_service(
    edge: Any,
    backends: Any,
    endpoint: Any,
    authority: Authority,
    tmp_path: Path,
    wait_until: Any,
    kind: str,
) -> None:
    other = backends("other", tls=_impostor(kind, authority, Authority(tmp_path, "theirs")))
    edge.push({"memory": [endpoint(other.port)]})
    answer = httpx.get(edge.url + READ, headers=edge.signer.bearer())
    assert (answer.status_code, answer.json()["code"]) == (502, "bad-gateway")
    wait_until(lambda: "} 0" in edge.metrics().partition("gateway_instance_up{")[2][:80], "a check finds it out")
    own = backends("own", tls=authority.server())
    edge.push({"memory": [endpoint(other.port), endpoint(own.port)]})
    for _ in range(10):
        assert httpx.get(edge.url + READ, headers=edge.signer.bearer()).json()["backend"] == "own"
    assert other.requests == []


def test_a_hung_service_is_passed_over_in_tls_as_well(
    edge: Any, backends: Any, endpoint: Any, authority: Authority, wait_until: Any
) -> None:
    """It accepts connections and never shakes hands."""
    own = backends("own", tls=authority.server())
    with socket.create_server(("127.0.0.1", 0), backlog=512) as silent:
        edge.push({"memory": [endpoint(silent.getsockname()[1]), endpoint(own.port)]})
        wait_until(lambda: "} 0" in edge.metrics(), "a check finds it out")
        for _ in range(10):
            assert httpx.get(edge.url + READ, headers=edge.signer.bearer()).json()["backend"] == "own"
