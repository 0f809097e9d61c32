"""Vectors that callers bring: what a caller embedded needs no embedder here."""

from typing import Annotated

import msgspec
from msgspec import Meta

#: Members of a vector at most: the largest models in use have 4,096.
DIMENSION_LIMIT = 4096
#: Beyond this a member is no part of an embedding, and half precision could not hold it.
_MEMBER = 1e6


class GivenVector(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A vector and the model that it came from; its length does not matter, only its direction."""

    model: Annotated[str, Meta(min_length=1, max_length=128)]
    values: Annotated[
        tuple[Annotated[float, Meta(ge=-_MEMBER, le=_MEMBER)], ...], Meta(min_length=1, max_length=DIMENSION_LIMIT)
    ]
