"""What the order of results reads in a stored document. Pure."""

from datetime import datetime

import msgspec

from ragrid.services.memory.model import microseconds
from ragrid.services.memory.ranking.fusion import Facts


class _Read(msgspec.Struct, frozen=True):
    updated_at: datetime
    importance: float


_decode = msgspec.json.Decoder(_Read).decode


def facts_of(doc: bytes) -> Facts:
    """Return when a memory was last changed, and how important it is."""
    read = _decode(doc)
    return Facts(microseconds(read.updated_at), read.importance)
