"""What the PostgreSQL store makes of words, and of documents that its server cannot hold as they are."""

import msgspec

from ragrid.services.memory.changes import Scope
from ragrid.services.memory.filters.plain import plain_of
from ragrid.services.memory.postgresql.lexemes import Lexemes, lexemes_of
from ragrid.services.memory.postgresql.telling_words import BUDGET, Count, telling


def test_a_word_has_another_digest_in_every_namespace() -> None:
    scopes = [Scope("acme", "bc"), Scope("acmeb", "c"), Scope("acme", "b"), Scope("other", "bc")]
    digests = {Lexemes(scope).word("tea") for scope in scopes}
    assert len(digests) == len(scopes)
    assert Lexemes(scopes[0]).tag("tea") not in digests


def test_digests_stay_the_same_for_as_long_as_there_are_databases() -> None:
    assert lexemes_of(Scope("acme", "default")).word("tea") == "YBwCyLplLx4="
    assert lexemes_of(Scope("acme", "default")).tag("tea") == "PM8rJIL7mEI="


def test_in_a_small_namespace_every_word_that_is_there_is_looked_for() -> None:
    asked = telling([Count("a", 5), Count("b", 0), Count("c", 90)], rows=100, mean=10.0)
    assert asked.lexemes == ["a", "c"]
    assert asked.rarities[0] > asked.rarities[1] > 0


def test_in_a_large_one_the_rarest_words_within_the_budget_are() -> None:
    counts = [Count("the", BUDGET + 1), Count("rare", 3), Count("some", BUDGET - 10), Count("more", 100)]
    assert telling(counts, rows=1_000_000, mean=10.0).lexemes == ["rare", "more"]
    assert telling(counts[:1], rows=1_000_000, mean=10.0).lexemes == ["the"]
    assert telling([], rows=1_000_000, mean=10.0).lexemes == []


def test_nul_gives_way_wherever_it_is_in_a_document() -> None:
    doc = {"content": "a\0b", "data": {"k\0": ["\0", 1]}}
    plain = plain_of(msgspec.json.encode(doc))
    assert plain is not None
    assert msgspec.json.decode(plain) == {"content": "a\uffffb", "data": {"k\uffff": ["\uffff", 1]}}
    assert plain_of(b'{"content":"plain"}') is None
