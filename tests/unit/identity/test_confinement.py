"""What `memory_ns` and `memory_user` say, and that a claim nobody understands frees nobody."""

from typing import Any

import pytest

from ragrid.identity.confinement import ConfinementError, claims_of_confinement, is_within
from ragrid.identity.verify import InvalidTokenError
from support.token_mint import TokenMint


@pytest.mark.parametrize(
    ("name", "patterns", "is_in"),
    [
        ("chat", None, True),
        ("chat", ("chat",), True),
        ("chat-7", ("chat",), False),
        ("chat-7", ("chat-*",), True),
        ("chat-", ("chat-*",), True),
        ("xchat-7", ("chat-*",), False),
        ("a.b", ("a*b",), True),
        ("ab", ("a*b",), True),
        ("aba", ("a*ba",), True),
        ("aa", ("a*aa",), False),
        ("abcabd", ("a*bc*d",), True),
        ("abdc", ("a*bc*d",), False),
        ("anything", ("*",), True),
        ("one", ("two", "o*e"), True),
        ("axb", ("a.b",), False),
        ("a*", ("a**",), True),
    ],
)
def test_a_star_stands_for_anything(name: str, patterns: tuple[str, ...] | None, is_in: bool) -> None:
    assert is_within(name, patterns) == is_in


@pytest.mark.parametrize(
    "claims",
    [
        {"memory_ns": "chat"}, {"memory_ns": []}, {"memory_ns": [7]}, {"memory_ns": ["a b"]}, {"memory_ns": [""]},
        {"memory_ns": None}, {"memory_ns": ["x" * 65]}, {"memory_ns": ["a"] * 17}, {"memory_user": ""},
        {"memory_user": None}, {"memory_user": ["ada"]}, {"memory_user": "x" * 129}, {"memory_user": "a\nb"},
    ],
)  # fmt: skip
def test_a_claim_that_is_not_understood_makes_the_token_worthless(claims: dict[str, Any]) -> None:
    with pytest.raises(ConfinementError):
        claims_of_confinement(claims)
    mint = TokenMint()
    with pytest.raises(InvalidTokenError, match="memory_"):
        mint.verifier().verify(mint.token(**claims))


def test_a_token_says_what_it_is_for() -> None:
    mint = TokenMint()
    free = mint.verifier().verify(mint.token())
    assert (free.memory_namespaces, free.memory_user, free.is_confined) == (None, None, False)
    held = mint.verifier().verify(mint.token(memory_ns=["chat-*"], memory_user="Ada Łukasiewicz"))
    assert (held.memory_namespaces, held.memory_user, held.is_confined) == (("chat-*",), "Ada Łukasiewicz", True)
