"""A context pack never exceeds its budget, and says what it left out."""

from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragrid.services.memory.context import AROUND_TOKENS, Offer, Piece, pack, tokens_of
from support.memory_calls import Caller
from support.token_mint import TokenMint


def piece(kind: Any, piece_id: str, tokens: int, reason: Any) -> Piece:
    return Piece(kind=kind, id=piece_id, text=piece_id, tokens=tokens, reason=reason)


def pieces(kind: str, name: str, reason: str, tokens: list[int]) -> list[Piece]:
    return [piece(kind, f"{name}{number}", each, reason) for number, each in enumerate(tokens)]


def messages(*tokens: int) -> list[Piece]:
    """Messages from the newest on."""
    newest = len(tokens)
    return [piece("message", str(newest - number), each, "recent") for number, each in enumerate(tokens)]


SIZES = st.lists(st.integers(1, 60), max_size=8)


@given(
    pinned=SIZES,
    found=SIZES,
    recent=SIZES,
    state=st.none() | st.integers(1, 60),
    budget=st.integers(1, 300),
    share=st.floats(0, 1),
)
@settings(max_examples=60)
def test_a_pack_keeps_its_budget_and_loses_nothing_unsaid(
    pinned: list[int], found: list[int], recent: list[int], state: int | None, budget: int, share: float
) -> None:
    offer = Offer(
        state=None if state is None else piece("state", "s", state, "state"),
        pinned=pieces("memory", "p", "pinned", pinned),
        found=pieces("memory", "m", "found", found),
        recent=messages(*recent),
    )
    packed = pack(offer, budget_tokens=budget, message_share=share)
    assert packed.used_tokens == sum(one.tokens for one in packed.items) <= budget
    every = [*([offer.state] if offer.state else []), *offer.pinned, *offer.found, *offer.recent]
    named = [(one.kind, one.id) for one in packed.items] + [(one.kind, one.id) for one in packed.left_out]
    assert sorted(named) == sorted((one.kind, one.id) for one in every)
    seen = [int(one.id) for one in packed.items if one.kind == "message"]
    assert seen == list(range(len(recent) - len(seen) + 1, len(recent) + 1))
    # Nothing that is left out would have fitted: memories into what is left, and the next older message neither.
    left = budget - packed.used_tokens
    assert all(one.tokens > left for one in packed.left_out if one.kind == "memory")
    if len(seen) < len(recent):
        assert offer.recent[len(seen)].tokens > left


def test_a_pack_is_read_from_the_state_to_the_newest_message() -> None:
    offer = Offer(
        piece("state", "s", 5, "state"), pieces("memory", "p", "pinned", [5]), pieces("memory", "m", "found", [5, 5]),
        messages(5, 5),
    )  # fmt: skip
    packed = pack(offer, budget_tokens=100, message_share=0.5)
    assert [one.id for one in packed.items] == ["s", "p0", "m0", "m1", "1", "2"]
    assert (packed.used_tokens, packed.left_out) == (30, ())


def test_a_memory_that_is_pinned_and_found_is_there_once() -> None:
    offer = Offer(None, [piece("memory", "a", 5, "pinned")], [piece("memory", "a", 5, "found")], [])
    assert [one.reason for one in pack(offer, budget_tokens=100, message_share=0).items] == ["pinned"]


def test_what_messages_leave_goes_to_memories_and_back() -> None:
    long_memories = Offer(None, [], pieces("memory", "m", "found", [80]), messages(10))
    assert len(pack(long_memories, budget_tokens=100, message_share=0.5).items) == 2
    long_talk = Offer(None, [], pieces("memory", "m", "found", [10]), messages(*[10] * 9))
    assert len(pack(long_talk, budget_tokens=100, message_share=0.1).items) == 10


@pytest.mark.parametrize(
    ("text", "bytes_per_token", "tokens"), [("", 3, 0), ("abc", 3, 1), ("abcd", 3, 2), ("茶", 1, 3)]
)
def test_tokens_are_reckoned_from_bytes(text: str, bytes_per_token: float, tokens: int) -> None:
    assert tokens_of(text, bytes_per_token) == tokens + AROUND_TOKENS


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
