"""The query string: it may name the namespace, and nothing in it is ever ignored."""

from typing import Any

import httpx
import pytest

from ragrid.services.memory.api.operation import Operation
from ragrid.services.memory.api.routes import MemoryApi
from ragrid.services.memory.inmemory.store import InMemoryStore
from ragrid.system.clock import ManualClock
from support.memory_calls import Caller
from support.token_mint import TokenMint

OPERATIONS = MemoryApi(InMemoryStore(), ManualClock()).operations


@pytest.fixture
def root(client: httpx.AsyncClient, mint: TokenMint) -> Caller:
    return Caller(client, mint.token(sub="root", tenant="acme", scope="memory:read memory:write memory:admin"))


async def test_the_namespace_may_stand_in_the_query_string(alice: Caller) -> None:
    await alice.call("PUT", "/tea?namespace=demo", json={"content": "green tea"})
    assert (await alice.call("GET", "/tea")).status_code == 404
    assert (await alice.call("GET", "/tea", params={"namespace": "demo", "version": "1"})).json()["version"] == 1
    assert (await alice.call("GET", "/tea", headers={"memory-namespace": "demo"})).json()["namespace"] == "demo"
    assert await alice.ids(namespace="demo", limit=5) == ["tea"]
    found = await alice.call("POST", "/search?namespace=demo", json={"query": "tea"})
    assert len(found.json()["results"]) == 1
    changes = await alice.call("GET", "/../changes", params={"namespace": "demo", "since": "0"})
    assert [one["id"] for one in changes.json()["changes"]] == ["tea"]


async def test_a_walk_goes_on_wherever_the_namespace_is_named(alice: Caller) -> None:
    for number in range(3):
        await alice.call("PUT", f"/m{number}?namespace=demo", json={"content": "x"})
    first = (await alice.call("GET", "?namespace=demo&limit=2")).json()
    params = {"limit": "2", "cursor": first["next_cursor"]}
    rest = await alice.call("GET", params=params, headers={"memory-namespace": "demo"})
    assert [one["id"] for one in rest.json()["memories"]] == ["m0"]


@pytest.mark.parametrize("headers", [{}, {"memory-namespace": "demo"}])
async def test_two_names_are_refused(alice: Caller, headers: dict[str, str]) -> None:
    query = "?namespace=demo" + ("" if headers else "&namespace=demo")
    answer = await alice.call("GET", query, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "repeated-header")


@pytest.mark.parametrize("name", ["", "a/b", "ü", "x" * 65])
async def test_a_name_that_cannot_be_one_is_refused(alice: Caller, name: str) -> None:
    answer = await alice.call("GET", params={"namespace": name})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-namespace")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.id)
async def test_an_unknown_parameter_is_named_by_every_operation(root: Caller, operation: Operation) -> None:
    path = "/.." + operation.path.replace("{id}", "k").replace("{name}", "n")
    body: Any = None if operation.body is None else {}
    answer = await root.call(operation.method, path, json=body, params={"limitt": "5"})
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown-parameter")
    if not any(one.name == "Memory-Namespace" for one in operation.parameters):
        answer = await root.call(operation.method, path, json=body, params={"namespace": "demo"})
        assert answer.json()["code"] == "unknown-parameter"


async def test_a_value_that_is_none_of_a_few_is_told_which_there_are(alice: Caller) -> None:
    kinds = "custom, episodic, procedural, semantic, working"
    made = await alice.call("POST", json={"content": "x", "type": "idea"})
    assert made.json()["errors"][0]["detail"] == f"invalid enum value 'idea', wanted one of {kinds}"
    listed = await alice.call("GET", params={"type": "idea"})
    assert listed.json()["detail"] == f"parameter 'type': invalid enum value 'idea', wanted one of {kinds}"
    batch = await alice.call("POST", "/batch", json={"operations": [{"op": "upsert"}]})
    [error] = batch.json()["results"][0]["problem"]["errors"]
    assert error == {
        "pointer": "/op",
        "detail": "invalid value 'upsert', wanted one of create, delete, patch, put, restore",
    }
