"""Batches as a caller sees them: one answer, and in it one for each operation."""

from typing import Any

import pytest

from support.memory_calls import Caller


async def batch(alice: Caller, *operations: Any, status: int = 200, **members: Any) -> Any:
    answer = await alice.call("POST", "/batch", json={"operations": operations, **members})
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_each_operation_has_the_status_it_would_have_had_alone(alice: Caller) -> None:
    answer = await batch(
        alice,
        {"op": "create", "memory": {"content": "made"}},
        {"op": "put", "id": "k", "memory": {"content": "one"}},
        {"op": "put", "id": "k", "memory": {"content": "two"}, "if_match": [1, 7]},
        {"op": "put", "id": "k", "memory": {"content": "two"}, "if_none_match": "*"},
        {"op": "patch", "id": "k", "patch": {"tags": ["x"]}, "if_match": 2},
        {"op": "patch", "id": "nobody", "patch": {}},
        {"op": "restore", "id": "k", "version": 1},
        {"op": "delete", "id": "k", "if_match": "*"},
    )
    results = answer["results"]
    assert [one["status"] for one in results] == [201, 201, 200, 412, 200, 404, 200, 204]
    assert [one.get("version") for one in results] == [1, 1, 2, None, 3, None, 4, 5]
    assert (results[3]["problem"]["code"], results[3]["problem"]["current_version"]) == ("version-conflict", 2)
    assert results[1]["id"] == "k"
    assert await alice.ids() == [results[0]["id"]]


async def test_memories_come_back_when_asked_for(alice: Caller) -> None:
    operation = {"op": "put", "id": "k", "memory": {"content": "one"}}
    assert "memory" not in (await batch(alice, operation))["results"][0]
    result = (await batch(alice, operation, documents=True))["results"][0]
    assert result["memory"] == (await alice.call("GET", "/k")).json()


async def test_an_atomic_batch_is_refused_whole_and_says_which_operation(alice: Caller) -> None:
    answer = await batch(
        alice,
        {"op": "put", "id": "a", "memory": {"content": "one"}},
        {"op": "patch", "id": "a", "patch": {"importance": 2}},
        {"op": "put", "id": "b", "memory": {"content": "two"}},
        atomic=True,
        status=409,
    )
    assert (answer["code"], [one["status"] for one in answer["results"]]) == ("batch-refused", [424, 422, 424])
    assert answer["results"][1]["problem"]["errors"][0]["pointer"] == "/patch/importance"
    assert await alice.ids() == []


async def test_what_is_wrong_with_an_operation_hides_no_other(alice: Caller) -> None:
    wrong = [
        {"op": "create", "memory": {"contents": "x", "importance": 2}},
        {"op": "put", "id": "a/b", "memory": {"content": "x"}},
        {"op": "fly"},
        {"memory": {"content": "x"}},
        {"op": "patch", "id": "k", "patch": {"color": 1}},
        {"op": "put", "id": "k", "memory": {"content": ""}},
        {"op": "create", "memory": {"content": "x"}, "id": "mine"},
        7,
    ]
    answer = await batch(alice, *wrong, {"op": "put", "id": "good", "memory": {"content": "x"}})
    assert [one["status"] for one in answer["results"]] == [422] * 8 + [201]
    pointers = [[each["pointer"] for each in one["problem"]["errors"]] for one in answer["results"][:8]]
    assert pointers == [
        ["/memory/contents", "/memory/importance"],
        ["/id"],
        ["/op"],
        ["/op"],
        ["/patch/color"],
        ["/memory/content"],
        ["/id"],
        [""],
    ]
    refused = await batch(alice, *wrong[:1], {"op": "delete", "id": "good"}, atomic=True, status=409)
    assert [one["status"] for one in refused["results"]] == [422, 424]
    assert await alice.ids() == ["good"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"operations": []}, "/operations"),
        ({"operations": [{"op": "delete", "id": "k"}] * 1001}, "/operations"),
        ({"operations": [{"op": "delete", "id": "k"}], "atomc": True}, "/atomc"),
        ({}, "/operations"),
    ],
)
async def test_a_batch_that_is_none_is_refused(alice: Caller, body: Any, pointer: str) -> None:
    answer = await alice.call("POST", "/batch", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


async def test_a_create_in_a_batch_has_its_own_idempotency_key(alice: Caller) -> None:
    operation = {"op": "create", "memory": {"content": "once"}, "idempotency_key": "k1"}
    first, again = await batch(alice, operation), await batch(alice, operation, documents=True)
    assert first["results"][0]["id"] == again["results"][0]["id"]
    assert len(await alice.ids()) == 1
    other = await batch(alice, {**operation, "memory": {"content": "twice"}})
    assert other["results"][0]["problem"]["code"] == "idempotency-key-reused"


async def test_a_batch_is_larger_than_a_memory(alice: Caller) -> None:
    operations = [{"op": "put", "id": f"k{n}", "memory": {"content": "x" * 30_000}} for n in range(40)]
    assert {one["status"] for one in (await batch(alice, *operations))["results"]} == {201}
    answer = await alice.call("POST", "/batch", content=b" " * (8 * 1024 * 1024 + 1))
    assert (answer.status_code, answer.json()["limit_bytes"]) == (413, 8 * 1024 * 1024)
