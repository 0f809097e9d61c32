"""Of a vector that a caller brings, its direction counts alone, however short or long it is."""

import numpy as np
import pytest

from ragrid.services.memory.vectors import GivenVector


@pytest.mark.parametrize("scale", [5e-324, 1e-300, 1e-30, 1e-12, 1.0, 2e5])
def test_the_length_of_a_vector_does_not_matter(scale: float) -> None:
    given = GivenVector(model="m", values=(3 * scale, -4 * scale, 0.0))
    assert given.direction == pytest.approx([0.6, -0.8, 0.0], abs=1e-6)
    assert given.direction.dtype == np.float32


def test_a_vector_without_direction_stays_zero() -> None:
    assert not GivenVector(model="m", values=(0.0, 0.0)).direction.any()
