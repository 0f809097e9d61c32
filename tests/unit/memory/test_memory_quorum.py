"""The levels of a question: which sets of its words are worth enough, written as one expression."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragrid.services.memory.ranking.quorum import LEAST_RARITY, Word, expression, levels, rarity

SHARES = st.floats(0.001, 0.49)
QUESTIONS = st.lists(st.tuples(st.floats(0.01, 12), SHARES), min_size=1, max_size=6).map(
    lambda told: [Word(f"w{n}", f"w{n}", worth, share) for n, (worth, share) in enumerate(told)]
)


@given(QUESTIONS)
def test_an_expression_lets_through_just_the_sets_that_reach_the_level(words: list[Word]) -> None:
    for level in levels(words):
        written = expression(words, level.least, both=" and ", either=" or ")
        assert written is not None
        for held in product((True, False), repeat=len(words)):
            names = {word.text: is_held for word, is_held in zip(words, held, strict=True)}
            worth = sum(word.rarity for word, is_held in zip(words, held, strict=True) if is_held)
            if any(held) and abs(worth - level.least) > 1e-5:
                # the expression consists of the names, brackets, `and` and `or` alone
                assert bool(eval(written, {}, names)) == (worth >= level.least)  # noqa: S307 - see above


@given(QUESTIONS)
def test_levels_fall_and_each_holds_those_above_it(words: list[Word]) -> None:
    found = levels(words)
    assert [one.least for one in found] == sorted((one.least for one in found), reverse=True)
    assert [one.share for one in found] == sorted(one.share for one in found)
    any_word = 1.0
    for word in words:
        any_word *= 1 - word.share
    assert found[-1].share == pytest.approx(1 - any_word)


def test_a_level_beyond_all_words_has_no_expression() -> None:
    assert expression([Word("tea", '"tea"', 1.0, 0.1)], 2.0) is None


def test_a_word_of_half_of_all_memories_is_worth_next_to_nothing() -> None:
    assert rarity(100, 50) == rarity(100, 100) == LEAST_RARITY
    assert rarity(100, 10) > rarity(100, 20) > LEAST_RARITY
