"""A coarse matrix bounds every cosine from above, closely enough to be of use."""

import numpy as np
import pytest

from ragrid.inference.embedder import FloatArray, normalise
from ragrid.services.memory.embedding import coarse
from ragrid.services.memory.embedding.coarse import CoarseMatrix, row_bytes
from ragrid.services.memory.embedding.matrix import best


def random_rows(seed: int, count: int, dimension: int) -> FloatArray:
    return normalise(np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32))


def filled(rows: FloatArray, *, step: int) -> CoarseMatrix:
    matrix = CoarseMatrix(rows.shape[1])
    for first in range(0, len(rows), step):
        block = rows[first : first + step]
        matrix.add(np.arange(first, first + len(block), dtype=np.int64) + 1, block)
    return matrix


@pytest.mark.parametrize("dimension", [1, 4, 384, 1024])
@pytest.mark.parametrize("seed", [1, 2])
def test_no_cosine_is_above_its_bound_nor_far_below(seed: int, dimension: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coarse, "BLOCK_ROWS", 100)
    rows = random_rows(seed, 1001, dimension)
    rows[::7] = 0  # a text that has no direction
    rows[::11] = rows[0 if seed == 1 else 5]
    rows[1, :] = 0
    rows[1, 0] = 1  # all in one member
    vector = random_rows(seed + 10, 1, dimension)[0]
    stamps, bounds = filled(rows, step=300).bounds(vector)
    cosines = rows.astype(np.float64) @ vector.astype(np.float64)
    assert stamps.tolist() == list(range(1, 1002))
    assert (cosines <= bounds).all()
    assert (bounds - cosines).max() < 0.05


def test_rows_far_from_length_1_are_bounded_too() -> None:
    rows = random_rows(3, 50, 64) * np.float32(1000)
    vector = random_rows(4, 1, 64)[0] * np.float32(0.001)
    _, bounds = filled(rows, step=50).bounds(vector)
    assert (rows.astype(np.float64) @ vector.astype(np.float64) <= bounds).all()


def test_room_is_counted_and_reserved() -> None:
    matrix = CoarseMatrix(384)
    matrix.reserve(100)
    assert matrix.size_bytes == 100 * row_bytes(384) == 100 * (384 + 16)
    assert [len(one) for one in matrix.bounds(np.zeros(384, np.float32))] == [0, 0]
    matrix.add(np.array([7, 9], np.int64), random_rows(5, 2, 384))
    assert (matrix.count, matrix.last_stamp) == (2, 9)
    assert matrix.size_bytes == 100 * row_bytes(384)


@pytest.mark.parametrize("count", [0, 1, 10, 5000])
@pytest.mark.parametrize("size", [1, 10, 200])
def test_the_best_of_many_and_later_ones_among_equals(count: int, size: int) -> None:
    scores = np.random.default_rng(6).integers(0, 50, count).astype(np.float32)
    wanted = sorted(range(count), key=lambda place: (-scores[place], -place))[:size]
    assert best(scores, size).tolist() == wanted
