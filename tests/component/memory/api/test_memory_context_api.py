"""A context pack as a caller of the API gets it."""

from typing import Any

import httpx
import pytest

from support.memory_calls import Caller
from support.token_mint import TokenMint


@pytest.fixture
def at_base(client: httpx.AsyncClient, mint: TokenMint) -> Caller:
    one = Caller(client, mint.token(sub="alice", tenant="acme"))
    one.base = "/memory/v1"
    return one


async def packed(at_base: Caller, **body: Any) -> dict[str, Any]:
    answer = await at_base.call("POST", "/context", json={"budget_tokens": 500, **body})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_pack_holds_what_is_pinned_found_and_said(at_base: Caller) -> None:
    put = at_base.call
    await put("PUT", "/memories/rule", json={"content": "Answer in French", "pinned": True})
    await put("PUT", "/memories/tea", json={"content": "Ada drinks tea", "data": {"at": 4}})
    await put("PUT", "/memories/car", json={"content": "Ada has a car"})
    turns = [{"role": "user", "content": "When is tea?"}, {"role": "tool", "name": "clock", "content": "At four"}]
    await put("POST", "/sessions/s/messages", json={"messages": turns})
    await put("PUT", "/sessions/s/state", json={"data": {"step": 2}})
    body = await packed(at_base, query="tea", session_id="s")
    assert [(one["kind"], one["id"], one["reason"]) for one in body["items"]] == [
        ("state", "s", "state"),
        ("memory", "rule", "pinned"),
        ("memory", "tea", "found"),
        ("message", "1", "recent"),
        ("message", "2", "recent"),
    ]
    assert [one["text"] for one in body["items"]] == [
        '{"step":2}',
        "Answer in French",
        'Ada drinks tea\n{"at":4}',
        "user: When is tea?",
        "tool (clock): At four",
    ]
    assert (body["mode_used"], body["degraded"], body["left_out_count"]) == ("lexical", [], 0)
    assert body["used_tokens"] == sum(one["tokens"] for one in body["items"])
    without = await packed(at_base, session_id="s", include_pinned=False, include_state=False, messages=1)
    assert [one["id"] for one in without["items"]] == ["2"]
    assert without["mode_used"] is None


async def test_a_small_budget_names_what_had_no_room(at_base: Caller) -> None:
    for number in range(3):
        await at_base.call("PUT", f"/memories/m{number}", json={"content": "tea " * 30})
    body = await packed(at_base, query="tea", budget_tokens=60)
    assert (len(body["items"]), body["left_out_count"]) == (1, 2)
    assert {one["reason"] for one in body["left_out"]} == {"found"}


async def test_filters_hold_for_what_is_pinned_too_and_superseded_rules_are_left_out(at_base: Caller) -> None:
    for memory_id, user_id in (("ada", "ada"), ("bob", "bob")):
        members = {"content": f"rule of {memory_id}", "pinned": True, "user_id": user_id}
        await at_base.call("PUT", f"/memories/{memory_id}", json=members)
    body = await packed(at_base, filter={"user_id": "ada"})
    assert [one["id"] for one in body["items"]] == ["ada"]
    newer = {"content": "newer rule", "pinned": True, "user_id": "ada", "supersedes": ["ada"]}
    await at_base.call("PUT", "/memories/newer", json=newer)
    body = await packed(at_base, filter={"user_id": "ada", "field": "importance", "op": "lt", "value": 1})
    assert [one["id"] for one in body["items"]] == ["newer"]


async def test_a_session_that_is_not_there_adds_nothing(
    at_base: Caller, client: httpx.AsyncClient, mint: TokenMint
) -> None:
    eve = Caller(client, mint.token(sub="eve", tenant="evil"))
    eve.base = "/memory/v1"
    await eve.call("POST", "/sessions/s/messages", json={"messages": [{"role": "user", "content": "secret"}]})
    await eve.call("PUT", "/memories/m", json={"content": "secret", "pinned": True})
    assert (await packed(at_base, query="secret", session_id="s"))["items"] == []


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/budget_tokens"),
        ({"budget_tokens": 0}, "/budget_tokens"),
        ({"budget_tokens": 9, "message_share": 2}, "/message_share"),
        ({"budget_tokens": 9, "session_id": "a b"}, "/session_id"),
        ({"budget_tokens": 9, "tokens": 3}, "/tokens"),
    ],
)
async def test_a_request_that_means_nothing_is_refused(at_base: Caller, body: Any, pointer: str) -> None:
    answer = await at_base.call("POST", "/context", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
