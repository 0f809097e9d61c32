"""Which matrices stay in memory."""

import threading
from dataclasses import dataclass

import pytest

from ragrid.services.memory.embedding.kept import STALE_ROWS, KeptMatrices

LIMIT_BYTES = 100


@dataclass
class Rows:
    """Stands for a matrix: `count` rows of one byte."""

    dimension: int
    count: int = 0

    @property
    def size_bytes(self) -> int:
        return self.count


Kept = KeptMatrices[str, Rows, threading.Lock]


@pytest.fixture
def kept() -> Kept:
    return KeptMatrices(LIMIT_BYTES, Rows, threading.Lock)


def fill(kept: Kept, key: str, rows: int) -> Rows:
    matrix = kept.entry(key, 384).matrix
    matrix.count = rows
    kept.make_room(key)
    return matrix


def test_a_matrix_stays_while_all_fit(kept: Kept) -> None:
    first, second = fill(kept, "first", 50), fill(kept, "second", 50)
    assert kept.entry("first", 384).matrix is first
    assert kept.entry("second", 384).matrix is second
    assert kept.size_bytes == LIMIT_BYTES


def test_what_was_used_longest_ago_makes_room(kept: Kept) -> None:
    first = fill(kept, "first", 40)
    fill(kept, "second", 40)
    kept.entry("first", 384)
    fill(kept, "third", 40)
    assert kept.size_bytes == 80
    assert kept.entry("first", 384).matrix is first
    assert kept.entry("second", 384).matrix.count == 0, "it was dropped, and starts anew"


def test_the_one_in_use_is_not_dropped_though_it_grew_beyond_the_limit(kept: Kept) -> None:
    fill(kept, "first", 40)
    large = fill(kept, "large", LIMIT_BYTES + 1)
    assert kept.entry("large", 384).matrix is large
    assert kept.size_bytes == LIMIT_BYTES + 1


@pytest.mark.parametrize(("rows", "stale"), [(10, STALE_ROWS), (4000, 1000)])
def test_a_matrix_with_many_stale_rows_starts_anew(kept: Kept, rows: int, stale: int) -> None:
    matrix = fill(kept, "one", rows)
    kept.note_stale("one", stale - 1)
    assert kept.entry("one", 384).matrix is matrix
    kept.note_stale("one", 1)
    assert kept.entry("one", 384).matrix.count == 0


def test_stale_rows_of_what_was_dropped_are_no_news(kept: Kept) -> None:
    kept.note_stale("never", STALE_ROWS)
    assert kept.size_bytes == 0
