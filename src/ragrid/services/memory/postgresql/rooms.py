"""What a namespace says of itself, and what is in it, as its table has it."""

from collections.abc import Iterable
from typing import Any

import msgspec

from ragrid.services.memory.namespaces import Brought, NamespaceSettings, Room

#: What `room_of` reads, in its order.
ROOM_COLUMNS = "settings, rows, size_bytes, brought_model, brought_dimension"

_decode_settings = msgspec.json.Decoder(NamespaceSettings).decode


def room_of(row: Iterable[Any]) -> Room:
    """Return the settings of a namespace and what is in it."""
    settings, rows, size_bytes, model, dimension = row
    brought = None if model is None else Brought(model.decode(), dimension)
    return Room(_decode_settings(settings or b"{}"), rows, size_bytes, brought)
