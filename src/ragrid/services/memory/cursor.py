"""Cursors: where a walk through a list goes on. Opaque to callers, and good for that very list only."""

import base64
import binascii
from collections.abc import Sequence
from hashlib import blake2b

_DIGEST_BYTES = 8
#: Positions are signed numbers of 64 bits in every store.
_POSITIONS = 2**63


class CursorError(ValueError):
    """The cursor was not given out for this list."""


def encode_cursor(position: int, walk: Sequence[object]) -> str:
    """Return the cursor that continues below `position`; `walk` is what makes this list this list."""
    packed = position.to_bytes(8, "big")
    return base64.urlsafe_b64encode(packed + _digest(packed, walk)).rstrip(b"=").decode()


def decode_cursor(text: str, walk: Sequence[object]) -> int:
    """Return the position in a cursor. Raises CursorError when it belongs to another list or to none."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise CursorError("not a cursor") from error
    if len(raw) != 8 + _DIGEST_BYTES or raw[8:] != _digest(raw[:8], walk):
        raise CursorError("a cursor of another list")
    position = int.from_bytes(raw[:8], "big")
    if position >= _POSITIONS:
        raise CursorError("not a cursor")
    return position


def _digest(packed: bytes, walk: Sequence[object]) -> bytes:
    # Not a secret and no guard: a forged one reaches nothing but another place in the caller's own list.
    return blake2b(packed + repr(tuple(walk)).encode(), digest_size=_DIGEST_BYTES).digest()
