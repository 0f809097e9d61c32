"""Filters as a caller of the API writes them."""

import json
from typing import Any

import pytest

from support.memory_calls import Caller


def leaf(field: str, op: str, value: Any) -> dict[str, Any]:
    return {"field": field, "op": op, "value": value}


async def test_lists_and_searches_take_the_same_filter(alice: Caller) -> None:
    await alice.create(metadata={"plan": "free"})
    pro = await alice.create(metadata={"plan": "pro"}, user_id="ada")
    node = {"and": [leaf("metadata.plan", "prefix", "pr"), leaf("user_id", "exists", True)]}
    assert await alice.ids(filter=json.dumps(node)) == [pro["id"]]
    assert await alice.search("fact", filter=node) == [pro["id"]]
    assert await alice.search("fact", filter={**node, "user_id": "eve"}) == []
    assert await alice.ids(filter=json.dumps(node), user_id="eve") == []


@pytest.mark.parametrize(
    ("node", "pointer"),
    [
        (leaf("nope", "eq", 1), "/field"),
        ({"or": [leaf("pinned", "eq", "yes")]}, "/or/0/value"),
    ],
)
async def test_faults_are_pointed_at_in_body_and_parameter(alice: Caller, node: Any, pointer: str) -> None:
    answer = await alice.call("POST", "/search", json={"query": "x", "filter": node})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-filter")
    assert [one["pointer"] for one in answer.json()["errors"]] == [f"/filter{pointer}"]
    answer = await alice.call("GET", params={"filter": json.dumps(node)})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-filter")
    assert [one["pointer"] for one in answer.json()["errors"]] == [pointer]


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [("{", 400, "invalid-json"), ('{"field": 1}', 422, "invalid-body"), ("[]", 422, "invalid-body")],
)
async def test_a_parameter_that_is_no_filter_is_refused(alice: Caller, text: str, status: int, code: str) -> None:
    answer = await alice.call("GET", params={"filter": text})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_cursor_belongs_to_its_filter(alice: Caller) -> None:
    for _ in range(3):
        await alice.create(metadata={"plan": "pro"})
    params = {"filter": json.dumps(leaf("metadata.plan", "eq", "pro")), "limit": 2}
    first = (await alice.call("GET", params=params)).json()
    cursor = first["next_cursor"]
    assert len((await alice.call("GET", params={**params, "cursor": cursor})).json()["memories"]) == 1
    other = {**params, "filter": json.dumps(leaf("metadata.plan", "eq", "free")), "cursor": cursor}
    assert (await alice.call("GET", params=other)).json()["code"] == "invalid-cursor"
