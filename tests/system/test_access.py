"""Who gets through the gateway, and how refusals look; official clients work unchanged."""

import chromadb
import httpx
import numpy as np
import pytest
from chromadb.config import Settings

from support.running_grid import RunningGrid

#: One request for each service behind the gateway, and the permission that it needs.
DOORS = [
    ("GET", "/api/v2/tenants/default_tenant/databases/default_database/collections", "chromadb:read"),
    ("GET", "/memory/v1/memories", "memory:read"),
    ("GET", "/rag/v1/documents", "rag:read"),
    ("GET", "/tokens/v1/clients", "tokens:admin"),
]


def assert_problem(response: httpx.Response, status: int) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status
    assert response.json()["type"].startswith("urn:ragrid:problem:")


@pytest.mark.parametrize(("method", "path", "permission"), DOORS)
def test_without_a_token_401(grid: RunningGrid, method: str, path: str, permission: str) -> None:
    with grid.client() as client:
        answer = client.request(method, path)
    assert_problem(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(("method", "path", "permission"), DOORS)
def test_with_a_wrong_role_403(grid: RunningGrid, method: str, path: str, permission: str) -> None:
    with grid.client(grid.token("vllm-service")) as client:
        answer = client.request(method, path)
    assert_problem(answer, 403)
    assert permission in answer.headers["www-authenticate"]


@pytest.mark.parametrize(("method", "path", "permission"), DOORS)
def test_with_the_right_role_200(grid: RunningGrid, method: str, path: str, permission: str) -> None:
    with grid.client(grid.token("admin")) as client:
        assert client.request(method, path).status_code == 200


def test_a_reader_may_not_write(grid: RunningGrid) -> None:
    with grid.client(grid.token("reader")) as client:
        assert_problem(client.post("/memory/v1/memories", json={"content": "x"}), 403)
        assert_problem(client.post("/rag/v1/documents?name=x.txt", content=b"x"), 403)


@pytest.mark.parametrize("path", ["/", "/nothing", "/metrics", "/healthz", "/api/v1/heartbeat", "/docs", "/v2/models"])
def test_an_unknown_path_404(grid: RunningGrid, path: str) -> None:
    with grid.client(grid.token("admin")) as client:
        assert_problem(client.get(path), 404)


def test_another_tenant_is_refused(grid: RunningGrid) -> None:
    with grid.client(grid.token("admin")) as client:
        assert_problem(client.get("/api/v2/tenants/somebody_else/databases/default_database/collections"), 403)


def test_plain_http_leads_to_https(grid: RunningGrid) -> None:
    port = grid.document["gateway"]["http"]
    answer = httpx.get(f"http://127.0.0.1:{port}/memory/v1/memories?x=1", trust_env=False)
    assert (answer.status_code, answer.headers["location"]) == (308, f"{grid.address}/memory/v1/memories?x=1")


def test_the_official_chromadb_client_works_unchanged(grid: RunningGrid, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(grid.authority))
    client = chromadb.HttpClient(
        host="127.0.0.1",
        port=grid.document["gateway"]["https"],
        ssl=True,
        headers={"Authorization": f"Bearer {grid.token('writer')}"},
        settings=Settings(anonymized_telemetry=False),
    )
    collection = client.create_collection("system-test", embedding_function=None)
    collection.add(ids=["a", "b"], embeddings=np.eye(2, dtype=np.float32), documents=["first", "second"])
    found = collection.query(query_embeddings=np.array([[0.9, 0.1]], dtype=np.float32), n_results=1)
    assert found["documents"] == [["first"]]
    assert collection.count() == 2
    client.delete_collection("system-test")


def test_what_a_writer_remembers_a_reader_finds(grid: RunningGrid) -> None:
    with grid.client(grid.token("writer")) as writer, grid.client(grid.token("reader")) as reader:
        made = writer.post("/memory/v1/memories", json={"content": "the blue kettle is in the lab"})
        assert made.status_code == 201, made.text
        place = made.headers["location"]
        assert reader.get(place).json()["content"] == "the blue kettle is in the lab"
        found = reader.post("/memory/v1/memories/search", json={"query": "kettle"})
        assert found.status_code == 200, found.text
        assert found.json()["results"][0]["memory"]["content"] == "the blue kettle is in the lab"
        assert writer.delete(place).status_code == 204
        assert_problem(reader.get(place), 404)
