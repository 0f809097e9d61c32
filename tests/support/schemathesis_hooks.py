"""What schemathesis does not know by itself: lines of JSON are sent as the text that they are."""

from typing import Any

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(_context: schemathesis.SerializationContext, value: Any) -> bytes:
    """Return the body as it goes over the wire."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")
