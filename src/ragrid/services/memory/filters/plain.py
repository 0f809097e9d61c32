"""A document as databases can read it: to them a text ends at a NUL, or they take none at all. Pure."""

from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode
_STAND_IN = "\uffff"


def plain_of(doc: bytes) -> str | None:
    """Return a document with U+FFFF in the place of each NUL, also in names; None when there is none in it."""
    if b"\\u0000" not in doc:
        return None
    return _encode(_plain(msgspec.json.decode(doc))).decode()


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", _STAND_IN)
    if isinstance(value, dict):
        return {_plain(name): _plain(inner) for name, inner in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value
