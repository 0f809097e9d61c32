"""Whole numbers that JSON writes as `5.0` or `1e2`: to JSON Schema they are integers, to msgspec they are not. Pure.

Nothing of this happens to a body that fits: only one that was refused is looked at again.
"""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from ragrid.web.pointers import place_of

T = TypeVar("T")

#: Members of one body that may be written in this way; with more of them, the rest is refused.
REPAIRS = 32
#: Beyond it, no whole number of ours is meant, bits.
_BITS = 63

_INT_WANTED = re.compile(r"^Expected `(?:[^`]* \| )?int(?: \| [^`]*)?`, got `float`")
_encode = msgspec.json.Encoder().encode


def decode_whole(decode: Callable[[bytes], T], content: bytes) -> T:
    """Return what `decode` makes of `content`, a whole number written as `5.0` being one; raises what it raises."""
    try:
        return decode(content)
    except msgspec.ValidationError as error:
        try:
            value = msgspec.json.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # it breaks behind the first fault
            raise error from None
        return _repaired(value, error, lambda repaired: decode(_encode(repaired)))


def convert_whole(value: Any, kind: Any) -> Any:
    """Return a decoded `value` as a `kind`, a whole number written as `5.0` being one. Raises ValidationError."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        return _repaired(value, error, lambda repaired: msgspec.convert(repaired, kind))


def whole(value: Any) -> Any:
    """Return a float without a fraction as the integer that it is, and anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**_BITS else value


def _repaired(value: Any, error: msgspec.ValidationError, attempt: Callable[[Any], T]) -> T:
    """Return what `attempt` makes of `value` once each float at which it stumbles is an integer, or raise."""
    for _ in range(REPAIRS):
        message = str(error)
        if _INT_WANTED.match(message) is None:
            break
        repaired = _with_whole(value, place_of(message).steps)
        if repaired is value:
            break
        value = repaired
        try:
            return attempt(value)
        except msgspec.ValidationError as another:
            error = another
    raise error


def _with_whole(value: Any, steps: list[str]) -> Any:
    """Return a copy of `value` that differs in the float at the end of `steps`; `value` itself when none is there.

    All items of a list are of one type, so that whole floats beside it become integers as well.
    """
    if not steps:
        return whole(value)
    if isinstance(value, list):
        if len(steps) == 1:
            return [whole(one) for one in value] if _is_whole_at(value, steps[0]) else value
        return _replaced(value, int(steps[0]), steps[1:])
    if isinstance(value, dict) and steps[0] in value:
        return _replaced(value, steps[0], steps[1:])
    return value


def _is_whole_at(items: list[Any], step: str) -> bool:
    return whole(items[int(step)]) is not items[int(step)]


def _replaced(container: Any, key: Any, steps: list[str]) -> Any:
    inner = _with_whole(container[key], steps)
    if inner is container[key]:
        return container
    copy = container.copy()
    copy[key] = inner
    return copy
