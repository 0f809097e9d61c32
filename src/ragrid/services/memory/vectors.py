"""Vectors that callers bring: what a caller embedded needs no embedder here."""

from collections.abc import Mapping
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


def fault_of_vector(
    given: GivenVector, models: Mapping[str, int | None], *, brought: str | None = None
) -> tuple[str, str] | None:
    """Return JSON pointer and fault of a vector that fits none of the models in use, by name with their dimensions.

    Without any model in use, the vector's own becomes it. One that came so, `brought`, may have come from another
    tenant: its name is never told. Pure.
    """
    if not models:
        return None
    if given.model not in models:
        wanted = " or ".join(repr(name) for name in sorted(models) if name != brought)
        wanted = f"{wanted}, which searches use" if wanted else "the one model that searches use here"
        return "/embedding/model", f"got {given.model!r}, wanted {wanted}"
    dimension = models[given.model]
    if dimension is None:
        return "/embedding/model", f"the embedder of {given.model!r} has not answered yet; try again"
    if len(given.values) != dimension:
        return "/embedding/values", f"got {len(given.values)} members, wanted {dimension}"
    return None
