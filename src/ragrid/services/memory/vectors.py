"""Vectors that callers bring: what a caller embedded needs no embedder here."""

from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from ragrid.inference.embedder import FloatArray, normalise

#: Members of a vector at most: the largest models in use have 4,096.
DIMENSION_LIMIT = 4096
#: Beyond this a member is no part of an embedding, and half precision could not hold it.
_MEMBER = 1e6
#: The square of a length below which single precision has lost members, or all of them.
_FAINT = 1e-20
#: Half precision changes the square of a length of 1 by less.
_ROUNDED = 0.002


class GivenVector(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A vector and the model that it came from; its length does not matter, only its direction."""

    model: Annotated[str, Meta(min_length=1, max_length=128)]
    values: Annotated[
        tuple[Annotated[float, Meta(ge=-_MEMBER, le=_MEMBER)], ...], Meta(min_length=1, max_length=DIMENSION_LIMIT)
    ]

    @property
    def direction(self) -> FloatArray:
        """The vector with length 1. One that a store has rounded stays as it is, bit for bit."""
        row = np.array(self.values, np.float32)
        if _is_rounded(row):
            return row
        if float(row @ row) < _FAINT:
            row = _enlarged(self.values)
        direction: FloatArray = normalise(row[np.newaxis])[0]
        return direction


def _enlarged(values: tuple[float, ...]) -> FloatArray:
    """Return the same direction with 1 as its largest member; what has none stays as it is."""
    row = np.array(values, np.float64)
    largest = float(np.abs(row).max())
    enlarged: FloatArray = (row / (largest or 1.0)).astype(np.float32)
    return enlarged


def _is_rounded(row: FloatArray) -> bool:
    """Tell whether a vector is one of length 1 whose members were rounded to half precision."""
    if abs(float(row @ row) - 1) > _ROUNDED:
        return False
    return bool((row.astype(np.float16).astype(np.float32) == row).all())
