"""A context pack never exceeds its budget, and says what it left out."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragrid.services.memory.context import AROUND_TOKENS, Offer, Piece, pack, tokens_of


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
