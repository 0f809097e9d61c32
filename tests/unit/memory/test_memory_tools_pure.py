"""Tools are made of operations: their arguments, the request that these become, and what a model gets to read."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from ragrid.services.memory.api.operation import Operation
from ragrid.services.memory.api.routes import MemoryApi
from ragrid.services.memory.inmemory.store import InMemoryStore
from ragrid.services.memory.tools.arguments import inner_request, lean
from ragrid.services.memory.tools.schema import input_schema
from ragrid.services.memory.tools.table import DESTRUCTIVE, NO_TOOLS, TOOLS, offered
from ragrid.system.clock import ManualClock
from ragrid.web.problem import Problem
from support.token_mint import TokenMint

ALL = frozenset({"memory:read", "memory:write", "memory:admin"})


@pytest.fixture(scope="module")
def operations() -> tuple[Operation, ...]:
    return MemoryApi(InMemoryStore(), ManualClock()).operations


@pytest.fixture(scope="module")
def tools(operations: tuple[Operation, ...]) -> dict[str, Operation]:
    return {name: operation for name, (_, operation) in offered(operations).items()}


def test_every_tool_is_an_operation_that_there_is(tools: dict[str, Operation]) -> None:
    assert list(tools) == [one.name for one in TOOLS]


def test_every_operation_is_one_tool_or_named_as_none(operations: tuple[Operation, ...]) -> None:
    assert sorted([*(one.operation_id for one in TOOLS), *NO_TOOLS]) == sorted(one.id for one in operations)
    assert {one.id for one in operations} > DESTRUCTIVE


def test_nothing_is_offered_that_a_caller_may_not_do(operations: tuple[Operation, ...]) -> None:
    mint = TokenMint()

    def shown(**claims: Any) -> dict[str, Operation]:
        caller = mint.verifier().verify(mint.token(**claims))
        return {name: operation for name, (_, operation) in offered(operations, caller).items()}

    assert shown(scope="") == {}
    assert {operation.permission for operation in shown(scope="memory:read").values()} == {"memory:read"}
    assert len(shown(scope=" ".join(ALL))) == len(TOOLS)
    held = shown(memory_user="ada")
    assert {"remember", "search_memories", "forget_matching"} <= set(held)
    assert not {"list_changes", "list_sessions", "memory_stats"} & set(held)


def test_every_schema_is_sound_and_closed(tools: dict[str, Operation]) -> None:
    for name, operation in tools.items():
        schema = input_schema(operation)
        Draft202012Validator.check_schema(schema)
        assert schema["additionalProperties"] is False
        assert set(schema["required"]) <= set(schema["properties"]), name
        for reference in _references(schema):
            assert reference.removeprefix("#/$defs/") in schema["$defs"], name


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if "$ref" in value else []
        return own + [one for each in value.values() for one in _references(each)]
    return [one for each in value for one in _references(each)] if isinstance(value, list) else []


def test_the_arguments_of_a_change(tools: dict[str, Operation]) -> None:
    schema = input_schema(tools["put_memory"])
    assert {"id", "namespace", "if_version", "if_absent", "content", "tags"} <= set(schema["properties"])
    assert "id" in schema["required"]
    assert set(input_schema(tools["update_memory"])["properties"]) == {"id", "namespace", "if_version", "changes"}
    assert "if_version" not in input_schema(tools["get_memory"])["properties"]


def test_arguments_become_the_request_of_the_api(tools: dict[str, Operation]) -> None:
    put = tools["put_memory"]
    arguments = {"id": "tea", "namespace": "demo", "if_version": 3, "content": "x", "tags": ["a"]}
    made = inner_request(put, input_schema(put), arguments)
    assert (made.path, made.query, made.body) == ({"id": "tea"}, "", b'{"content":"x","tags":["a"]}')
    assert made.headers == {"memory-namespace": "demo", "if-match": '"3"', "content-type": "application/json"}

    listing = tools["list_memories"]
    made = inner_request(listing, input_schema(listing), {"tag": ["a b", "c"], "limit": 5})
    assert sorted(made.query.split("&")) == ["limit=5", "tag=a+b", "tag=c"]
    assert (made.body, made.headers) == (b"", {})

    update = tools["update_memory"]
    made = inner_request(update, input_schema(update), {"id": "tea", "changes": {"tags": None}})
    assert (made.body, made.headers["content-type"]) == (b'{"tags":null}', "application/merge-patch+json")


def test_a_header_cannot_be_smuggled_in(tools: dict[str, Operation]) -> None:
    get = tools["get_memory"]
    made = inner_request(get, input_schema(get), {"id": "tea", "namespace": "a\r\nauthorization: Bearer x"})
    assert list(made.headers) == ["memory-namespace"]
    with pytest.raises(Problem) as caught:
        inner_request(get, input_schema(get), {"id": "tea", "authorization": "Bearer x"})
    assert caught.value.errors[0]["pointer"] == "/authorization"


def test_what_says_nothing_is_left_out_of_memories_alone() -> None:
    memory = {
        "id": "a",
        "namespace": "n",
        "version": 1,
        "content": "",
        "data": {"a": None},
        "user_id": None,
        "tags": [],
    }
    slim = {"id": "a", "namespace": "n", "version": 1, "content": "", "data": {"a": None}}
    assert lean(memory) == slim
    assert lean({"results": [{"memory": memory, "score": 0.0}], "next_cursor": None, "degraded": []}) == {
        "results": [{"memory": slim, "score": 0.0}],
        "next_cursor": None,
        "degraded": [],
    }
