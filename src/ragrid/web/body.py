"""Request bodies: bounded, then decoded into a type; what is wrong is named with a JSON pointer."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from ragrid.web.choices import with_choices
from ragrid.web.pointers import place_of
from ragrid.web.problem import Problem
from ragrid.web.whole_numbers import decode_whole

T = TypeVar("T")

#: What `read_json` takes unless told otherwise, bytes.
JSON_LIMIT_BYTES = 1024 * 1024

_MEMBER = re.compile(r"^Object (?:missing required|contains unknown) field `(?P<name>.*)`$", re.DOTALL)


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """Return the whole body; raises a 413 Problem as soon as more than `limit_bytes` are announced or arrive."""
    announced = request.headers.get("content-length")
    if announced is not None and announced.isdecimal() and int(announced) > limit_bytes:
        raise _too_large(limit_bytes)
    chunks: list[bytes] = []
    size_bytes = 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size_bytes += len(chunk)
        if size_bytes > limit_bytes:
            raise _too_large(limit_bytes)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def read_json(request: Request, kind: type[T], *, limit_bytes: int = JSON_LIMIT_BYTES) -> T:
    """Return the body as a `kind` (whatever msgspec decodes).

    Raises a Problem: 413 too large, 400 not JSON, 422 JSON of another shape, with a pointer to the member.
    """
    return decode_json(await read_body(request, limit_bytes), kind)


def decode_json(content: bytes, kind: type[T]) -> T:
    """Return `content` as a `kind`; raises the same Problems as `read_json`."""
    decode: Callable[[bytes], T] = partial(msgspec.json.decode, type=kind)
    try:
        return decode_whole(decode, content)
    except msgspec.ValidationError as error:
        raise unfit(error, kind) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, "invalid-json", f"the body is not JSON: {error}; send application/json") from error


def unfit(error: msgspec.ValidationError, kind: Any = Any) -> Problem:
    """Return the 422 Problem for a body that is JSON and does not fit `kind`."""
    what, pointer = locate(str(error), kind)
    where = pointer or "the body"
    errors = [{"pointer": pointer, "detail": what}]
    return Problem(422, "invalid-body", f"{where}: {what}; see the API documentation", errors=errors)


def locate(message: str, kind: Any = Any) -> tuple[str, str]:
    """Split a msgspec message into what is wrong and a JSON pointer (RFC 6901) to it.

    With the `kind` that was wanted, what is wrong says which values there are to choose from.

    A missing or unknown member is pointed at itself. msgspec does not name the key inside a free-form object, so the
    pointer ends at that object then.
    """
    what, steps, is_exact = place_of(message)
    member = _MEMBER.match(what)
    if member is not None and is_exact:
        steps.append(member["name"])
    pointer = "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)
    return with_choices(what[:1].lower() + what[1:], pointer, kind), pointer


def _too_large(limit_bytes: int) -> Problem:
    detail = f"the body is larger than {limit_bytes} bytes; send less at once"
    return Problem(413, "body-too-large", detail, members={"limit_bytes": limit_bytes})
