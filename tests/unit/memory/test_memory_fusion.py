"""Two lists become one: each by its own scores, neither by ranks alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragrid.services.memory.ranking.fusion import LEXICAL_WEIGHT, SEMANTIC_WEIGHT, Ranked, fuse

MANY = [(100 + n, 0.6 - 0.001 * n) for n in range(100)]


def order(lexical: Ranked | None, semantic: Ranked | None, *, pool: int = 100) -> list[int]:
    return [one.position for one in fuse(lexical, semantic, pool=pool)]


def test_a_name_that_one_memory_holds_is_found_among_many_that_are_almost_alike() -> None:
    """By ranks, 99 of the many would come before it, each being in both lists."""
    words = [(1, 12.0), *((position, 1.0 - 0.001 * n) for n, (position, _) in enumerate(MANY[:99]))]
    assert order(words, MANY)[0] == 1


def test_words_that_tell_little_apart_leave_the_order_to_the_meaning() -> None:
    words = [(103, 2.0), (102, 1.99), (101, 1.98)]
    meanings = [(101, 0.8), (102, 0.5), (103, 0.3)]
    assert order(words, meanings) == [101, 102, 103]


def test_what_a_list_does_not_hold_counts_nothing_or_as_its_last() -> None:
    whole = {one.position: one.score for one in fuse([(1, 4.0)], [(2, 0.9), (3, 0.6)])}
    assert whole == {1: LEXICAL_WEIGHT, 2: SEMANTIC_WEIGHT, 3: pytest.approx(SEMANTIC_WEIGHT * 2 / 3)}
    cut = {one.position: one.score for one in fuse([(1, 4.0)], [(2, 0.9), (3, 0.6)], pool=2)}
    assert cut[1] == pytest.approx(LEXICAL_WEIGHT + SEMANTIC_WEIGHT * 2 / 3)
    assert cut[2] == SEMANTIC_WEIGHT


def test_one_list_alone_keeps_its_scores_and_an_empty_one_takes_nothing_away() -> None:
    assert [(one.position, one.score) for one in fuse([(1, 8.0), (2, 2.0)], None)] == [(1, 1.0), (2, 0.25)]
    assert [(one.position, one.score) for one in fuse(None, [(1, 0.8), (2, 0.2)])] == [(1, 0.8), (2, 0.2)]
    assert [(one.position, one.score) for one in fuse([(1, 8.0)], [])] == [(1, LEXICAL_WEIGHT)]
    assert fuse([], []) == fuse(None, None) == []


_scores = st.lists(st.floats(1e-6, 1e6), max_size=12).map(lambda scores: sorted(scores, reverse=True))


@given(_scores, _scores, st.permutations(range(12)), st.permutations(range(12)), st.integers(1, 12))
def test_fused_scores_are_above_0_and_at_most_1_and_the_best_of_both_is_first(
    words: list[float], meanings: list[float], some: list[int], others: list[int], pool: int
) -> None:
    lexical, semantic = list(zip(some, words, strict=False)), list(zip(others, meanings, strict=False))
    found = fuse(lexical, semantic, pool=pool)
    assert {one.position for one in found} == {position for position, _ in lexical + semantic}
    assert all(0 < one.score <= 1.000001 and one.score == one.explanation.fused for one in found)
    if lexical and semantic and lexical[0][0] == semantic[0][0]:
        assert found[0].score == max(one.score for one in found) == pytest.approx(1)
