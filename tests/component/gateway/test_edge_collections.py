"""A ChromaDB collection belongs to one tenant, although ChromaDB itself finds records by the collection's id alone."""

from typing import Any

import httpx
import pytest

from ragrid.gateway.routes import POLICY

OWN, FOREIGN = "blue_team", "red_team"
BODIES: dict[str, Any] = {
    "get": {},
    "query": {"query_embeddings": [[1.0, 0.0]], "n_results": 1},
    "search": {"searches": [{}]},
    "add": {"ids": ["b"], "embeddings": [[0.0, 1.0]]},
    "upsert": {"ids": ["a"], "embeddings": [[0.0, 1.0]], "documents": ["overwritten"]},
    "update": {"ids": ["a"], "documents": ["overwritten"]},
    "delete": {"ids": ["a"]},
    "fork": {"new_name": "mine"},
    "attach_function": {"name": "f", "function_id": "record_counter", "output_collection": "o"},
    "update_collection": {"new_name": "renamed"},
}


def _collections(tenant: str) -> str:
    return f"/api/v2/tenants/{tenant}/databases/main/collections"


@pytest.fixture
def shared(edge: Any, chroma: int, endpoint: Any) -> Any:
    """An edge before a ChromaDB with two tenants; the first has a collection with one record. Gives edge and its id."""
    edge.push({"chromadb": [endpoint(chroma)]})
    for tenant in (OWN, FOREIGN):
        with edge.client(**edge.signer.bearer(tenant=tenant)) as client:
            assert client.post("/api/v2/tenants", json={"name": tenant}).status_code == 200
            assert client.post(f"/api/v2/tenants/{tenant}/databases", json={"name": "main"}).status_code == 200
    with edge.client(**edge.signer.bearer(tenant=OWN)) as client:
        made = client.post(_collections(OWN), json={"name": "papers"}).json()["id"]
        added = {"ids": ["a"], "embeddings": [[1.0, 0.0]], "documents": ["secret"]}
        assert client.post(f"{_collections(OWN)}/{made}/add", json=added).status_code == 201
    return edge, made


def _path(route: Any, tenant: str, collection: str) -> str:
    values = {"tenant": tenant, "database": "main", "collection": collection, "name": "f"}
    return str(route.path.format(**values))


def test_nobody_reaches_a_collection_of_another_tenant_by_its_id(shared: Any, chroma: int) -> None:
    """Asked directly, ChromaDB 1.5.9 answers all of these; the last line shows that it still does."""
    edge, made = shared
    routes = [route for route in POLICY["chromadb"].routes if "{collection}" in route.path]
    assert len(routes) >= 18
    with edge.client(**edge.signer.bearer(tenant=FOREIGN)) as client:
        for _ in range(2):  # a refusal is not remembered as anything else
            for route in routes:
                for spelled in (made, made.upper(), made.replace("-", "")):
                    answer = client.request(
                        route.methods[0], _path(route, FOREIGN, spelled), json=BODIES.get(route.name)
                    )
                    assert answer.status_code == 404, (route.name, answer.text)
                    assert "secret" not in answer.text
    with edge.client(**edge.signer.bearer(tenant=OWN)) as client:
        kept = client.post(f"{_collections(OWN)}/{made}/get", json={}).json()
    assert (kept["ids"], kept["documents"]) == (["a"], ["secret"])
    direct = httpx.post(f"http://127.0.0.1:{chroma}{_collections(FOREIGN)}/{made}/get", json={})
    assert direct.json()["documents"] == ["secret"], "ChromaDB compares the tenant now: the edge need not ask any more"


def test_the_refusal_is_that_of_a_collection_which_does_not_exist(shared: Any) -> None:
    edge, made = shared
    nowhere = "00000000-0000-4000-8000-000000000000"
    with edge.client(**edge.signer.bearer(tenant=FOREIGN)) as client:
        answers = [client.get(f"{_collections(FOREIGN)}/{one}/count") for one in (made, nowhere, "no-id")]
    for answer in answers:
        said = {**answer.json(), "request_id": ""}
        assert said == {**answers[0].json(), "request_id": ""}
        assert (said["code"], said["error"]) == ("collection-not-found", "NotFoundError")


def test_one_look_up_for_each_worker_and_collection_is_enough(edge: Any, backends: Any, endpoint: Any) -> None:
    """The stand-in answers every look-up with yes and remembers it."""
    path = "/api/v2/tenants/default_tenant/databases/d/collections/c"
    with edge.client(**edge.signer.bearer()) as client:
        for _ in range(20):
            for tail in ("count", "indexing_status"):
                assert client.get(f"{path}/{tail}").status_code == 200
    asked = [one for one in edge.backend.requests if one["path"].endswith("/collections/by-id/c")]
    assert 1 <= len(asked) <= edge.config.workers
    assert "Authorization" not in asked[0]["headers"]


def test_when_nobody_can_say_whose_a_collection_is_nothing_passes(edge: Any, ports: Any, endpoint: Any) -> None:
    edge.push({"chromadb": [endpoint(ports(1)[0])]})
    path = "/api/v2/tenants/default_tenant/databases/d/collections/c/count"
    answer = httpx.get(edge.url + path, headers=edge.signer.bearer())
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
