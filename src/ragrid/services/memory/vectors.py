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
        direction: FloatArray = normalise(row[np.newaxis])[0]
        return direction


def _is_rounded(row: FloatArray) -> bool:
    """Tell whether a vector is one of length 1 whose members were rounded to half precision."""
    if abs(float(row @ row) - 1) > _ROUNDED:
        return False
    return bool((row.astype(np.float16).astype(np.float32) == row).all())
