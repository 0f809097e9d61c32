"""The session API as a caller sees it: statuses, headers, documents, refusals."""

from typing import Any

import httpx
import pytest

from ragrid.services.memory.messages import MESSAGES
from ragrid.services.memory.model import CONTENT_BYTES
from ragrid.services.memory.working_state import STATE_BYTES
from ragrid.system.clock import ManualClock
from support.memory_calls import Caller


@pytest.fixture
def sessions(alice: Caller) -> Caller:
    alice.base = "/memory/v1/sessions"
    return alice


def turn(content: str = "hello", **members: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **members}


async def add(sessions: Caller, *messages: dict[str, Any], **headers: str) -> httpx.Response:
    return await sessions.call("POST", "/s/messages", json={"messages": list(messages)}, headers=headers)


async def test_an_append_answers_with_the_messages_and_where_the_session_stands(sessions: Caller) -> None:
    answer = await add(sessions, turn("hi", name="ada"), {"role": "tool", "data": {"rows": 3}})
    assert answer.status_code == 201
    body = answer.json()
    assert [(one["index"], one["role"], one["content"]) for one in body["messages"]] == [
        (1, "user", "hi"),
        (2, "tool", ""),
    ]
    assert (body["last_index"], body["messages"][0]["created_by"], body["messages"][0]["name"]) == (2, "alice", "ada")
    listed = (await sessions.call("GET", "/s/messages", params={"order": "oldest"})).json()
    assert listed == {"messages": body["messages"], "next_cursor": None}


async def test_a_walk_through_messages_is_bound_to_its_session_and_order(sessions: Caller) -> None:
    await add(sessions, *(turn(str(number)) for number in range(5)))
    page = (await sessions.call("GET", "/s/messages", params={"limit": "3"})).json()
    assert [one["content"] for one in page["messages"]] == ["4", "3", "2"]
    rest = (await sessions.call("GET", "/s/messages", params={"cursor": page["next_cursor"]})).json()
    assert ([one["content"] for one in rest["messages"]], rest["next_cursor"]) == (["1", "0"], None)
    params = {"cursor": page["next_cursor"], "order": "oldest"}
    other = await sessions.call("GET", "/s/messages", params=params)
    assert (other.status_code, other.json()["code"]) == (400, "invalid-cursor")


async def test_the_same_append_with_a_key_is_answered_the_same(sessions: Caller) -> None:
    first = await add(sessions, turn(), **{"idempotency-key": "k"})
    again = await add(sessions, turn(), **{"idempotency-key": "k"})
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    other = await add(sessions, turn("else"), **{"idempotency-key": "k"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")


async def test_an_append_after_the_wrong_message_is_412_with_the_last_index(sessions: Caller) -> None:
    await add(sessions, turn())
    answer = await sessions.call("POST", "/s/messages", json={"messages": [turn()], "after": 0})
    assert (answer.status_code, answer.json()["current_version"]) == (412, 1)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/messages"),
        ({"messages": []}, "/messages"),
        ({"messages": [turn()] * (MESSAGES + 1)}, "/messages"),
        ({"messages": [{"content": "x"}]}, "/messages/0/role"),
        ({"messages": [turn(), {"role": "robot", "content": "x"}]}, "/messages/1/role"),
        ({"messages": [turn(), turn("")]}, "/messages/1/content"),
        ({"messages": [turn("x" * (CONTENT_BYTES + 1))]}, "/messages/0/content"),
        ({"messages": [turn(data={"x": "y" * 70_000})]}, "/messages/0/data"),
        ({"messages": [turn(oops=1)]}, "/messages/0/oops"),
        ({"messages": [turn()], "ttl_seconds": 0}, "/ttl_seconds"),
    ],
)
async def test_a_fault_in_an_append_is_named(sessions: Caller, body: Any, pointer: str) -> None:
    answer = await sessions.call("POST", "/s/messages", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-body")
    assert [one["pointer"] for one in answer.json()["errors"]] == [pointer]
    assert (await sessions.call("GET", "/s/messages")).status_code == 404


async def test_a_state_is_put_read_and_kept_from_lost_updates(sessions: Caller) -> None:
    made = await sessions.call("PUT", "/s/state", json={"data": {"step": 1}, "ttl_seconds": 60})
    assert (made.status_code, made.headers["etag"], made.json()["data"]) == (201, '"1"', {"step": 1})
    assert made.json()["expires_at"] == "2027-01-15T08:01:00Z"
    stale = await sessions.call("PUT", "/s/state", json={"data": {}}, headers={"if-match": '"9"'})
    assert (stale.status_code, stale.json()["current_version"]) == (412, 1)
    replaced = await sessions.call("PUT", "/s/state", json={"data": {"step": 2}}, headers={"if-match": '"1"'})
    assert (replaced.status_code, replaced.headers["etag"]) == (200, '"2"')
    read = await sessions.call("GET", "/s/state")
    assert (read.status_code, read.content) == (200, replaced.content)
    unchanged = await sessions.call("GET", "/s/state", headers={"if-none-match": '"2"'})
    assert unchanged.status_code == 304


async def test_a_state_ends_unless_the_session_goes_on(sessions: Caller, clock: ManualClock) -> None:
    await sessions.call("PUT", "/s/state", json={"data": {}, "ttl_seconds": 60})
    clock.advance(50)
    await add(sessions, turn())
    clock.advance(59)
    assert (await sessions.call("GET", "/s/state")).json()["expires_at"] == "2027-01-15T08:01:50Z"
    clock.advance(1)
    answer = await sessions.call("GET", "/s/state")
    assert (answer.status_code, answer.json()["code"]) == (404, "session-not-found")


async def test_a_state_that_is_too_large_is_refused_with_its_limit(sessions: Caller) -> None:
    answer = await sessions.call("PUT", "/s/state", json={"data": {"x": "y" * STATE_BYTES}})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/data")
    assert str(STATE_BYTES) in answer.json()["errors"][0]["detail"]


async def test_a_deleted_session_is_404(sessions: Caller) -> None:
    await add(sessions, turn())
    assert (await sessions.call("DELETE", "/s")).status_code == 204
    for method, path in (("GET", "/s/messages"), ("GET", "/s/state"), ("DELETE", "/s")):
        answer = await sessions.call(method, path)
        assert (answer.status_code, answer.json()["code"]) == (404, "session-not-found")


@pytest.mark.parametrize("path", ["/a%20b/messages", "/" + "x" * 129 + "/state"])
async def test_what_cannot_be_a_session_id_is_400(sessions: Caller, path: str) -> None:
    answer = await sessions.call("GET", path)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-id")
    wrong = await sessions.call("GET", "/s/messages", params={"order": "random"})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "invalid-parameter")


async def test_sessions_are_listed_page_by_page(sessions: Caller) -> None:
    for name in ("a", "b", "c"):
        await sessions.call("POST", f"/{name}/messages", json={"messages": [turn()]})
    first = (await sessions.call("GET", params={"limit": "2"})).json()
    assert first["sessions"][0] == {"id": "a", "last_index": 1, "state_version": None}
    rest = (await sessions.call("GET", params={"after": first["next_after"]})).json()
    assert ([one["id"] for one in rest["sessions"]], rest["next_after"]) == (["c"], None)
