"""JSON and base64url as security wants them: one reading only, whoever reads."""

import base64
import binascii
import json
from typing import Any, NoReturn

#: No time and no count of ours has more; the gateway refuses them as well.
EXPONENT_DIGITS = 3


def strict_object(content: bytes) -> dict[str, Any]:
    """Return the JSON object in `content`; UTF-8 only, no member twice, no NaN or Infinity, no half of a surrogate.

    Raises ValueError for anything else, nesting that exhausts the interpreter included.
    """
    try:
        value = json.loads(
            content.decode(), object_pairs_hook=_once_each, parse_constant=_refuse_constant, parse_float=_float
        )
        if b"\\u" in content:
            json.dumps(value, ensure_ascii=False).encode()  # an escape may stand for what is no text
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(value, dict):
        raise ValueError(f"got {type(value).__name__}, wanted an object")
    return value


def decode_base64url(text: str) -> bytes:
    """Return the bytes of unpadded base64url; raises ValueError unless `text` is the only way to write them.

    The last character may carry bits that stand for nothing; were they let through, one token had several spellings.
    """
    padded = text + "=" * (-len(text) % 4)
    try:
        content = base64.b64decode(padded, altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not base64url") from error
    if encode_base64url(content) != text:
        raise ValueError("not canonical base64url")
    return content


def encode_base64url(content: bytes) -> str:
    """Return unpadded base64url."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members


def _float(text: str) -> float:
    """Return a number with a point or an exponent; the gateway's reader (LuaJIT) misreads exponents of many digits."""
    exponent = text.lower().partition("e")[2]
    if len(exponent.lstrip("+-")) > EXPONENT_DIGITS:
        raise ValueError(f"an exponent of more than {EXPONENT_DIGITS} digits")
    return float(text)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
