"""From the bytes of a request to a `MemoryInput`: fast when all is well, and exact about every fault when not. Pure."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ragrid.services.memory.errors import InvalidMemoryError, NotJsonError
from ragrid.services.memory.model import (
    CONTENT_BYTES,
    DATA_BYTES,
    DATA_DEPTH,
    METADATA_BYTES,
    READ_ONLY,
    WRITABLE,
    MemoryInput,
    microseconds,
)
from ragrid.web.body import locate
from ragrid.web.whole_numbers import convert_whole

Fault = tuple[str, str]

_decode_input = msgspec.json.Decoder(MemoryInput).decode
_encode = msgspec.json.Encoder().encode
_FIELDS = {field.name: field.type for field in msgspec.structs.fields(MemoryInput)}


def parse_input(body: bytes, *, now_us: int) -> MemoryInput:
    """Return the memory in `body`. Raises NotJsonError, or InvalidMemoryError with all faults and their pointers."""
    try:
        given = _decode_input(body)
    except (msgspec.ValidationError, RecursionError):
        given = convert_input(parse_object(body), now_us=now_us)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotJsonError(f"the body is not JSON: {error}") from error
    return checked(given, now_us=now_us)


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in `body`. Raises NotJsonError or InvalidMemoryError when it is anything else."""
    try:
        value = msgspec.json.decode(body)
    except RecursionError as error:
        raise InvalidMemoryError([("", "nested too deeply")]) from error
    except msgspec.ValidationError as error:  # a number that no computer's number is as large as
        raise InvalidMemoryError([("", locate(str(error))[0])]) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise NotJsonError(f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidMemoryError([("", f"got {_kind(value)}, wanted a JSON object")])
    return value


def convert_input(value: Mapping[str, Any], *, now_us: int | None) -> MemoryInput:
    """Return the memory that a decoded object describes; without `now_us`, `expires_at` may lie in the past.

    Raises InvalidMemoryError with all faults.
    """
    faults = unknown_members(value)
    sound: dict[str, Any] = {}
    for name in _FIELDS.keys() & value.keys():
        try:
            convert_whole(value[name], _FIELDS[name])
        except msgspec.ValidationError as error:
            what, pointer = locate(str(error), _FIELDS[name])
            faults.append((f"/{name}{pointer}", what))
        else:
            sound[name] = value[name]
    try:
        given = checked(convert_whole(sound, MemoryInput), now_us=now_us)
    except InvalidMemoryError as error:
        # What is said of a member that was left out here would not be true of the request.
        faults += [(pointer, detail) for pointer, detail in error.faults if not faults or pointer[1:] in sound]
    if faults:
        raise InvalidMemoryError(sorted(faults))
    return given


def unknown_members(value: Mapping[str, Any]) -> list[Fault]:
    """Return one fault for each member that no caller may set, with the nearest that it may."""
    return [(f"/{escape(name)}", unknown_detail(name, WRITABLE, READ_ONLY)) for name in value if name not in _FIELDS]


def unknown_detail(name: str, allowed: tuple[str, ...], read_only: tuple[str, ...] = ()) -> str:
    """Say what is wrong with a member that is not in `allowed`."""
    if name in read_only:
        return f"{name!r} is set by the service; leave it out"
    near = difflib.get_close_matches(name[:64], allowed, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(allowed) or 'none'}"
    return f"unknown member {name[:64]!r}; {hint}"


def checked(given: MemoryInput, *, now_us: int | None) -> MemoryInput:
    """Return `given` once the rules that no type can say are kept. Raises InvalidMemoryError with all faults."""
    faults: list[Fault] = []
    content_bytes = len(given.content) if given.content.isascii() else len(given.content.encode())
    if content_bytes > CONTENT_BYTES:
        faults.append(("/content", f"got {content_bytes} bytes of UTF-8, wanted at most {CONTENT_BYTES}"))
    if not given.content and not given.data:
        faults.append(("/content", f"wanted 1 to {CONTENT_BYTES} bytes of text; it may be empty only beside `data`"))
    if given.data and is_deep(given.data, DATA_DEPTH):
        faults.append(("/data", f"nested more than {DATA_DEPTH} levels deep"))
    elif given.data:
        faults += _size_fault("data", given.data, DATA_BYTES)
    faults += _size_fault("metadata", given.metadata, METADATA_BYTES)
    if len(set(given.tags)) != len(given.tags):
        faults.append(("/tags", "wanted each tag once"))
    if len(set(given.supersedes)) != len(given.supersedes):
        faults.append(("/supersedes", "wanted each id once"))
    faults += _time_faults(given, now_us)
    if given.embedding is not None and not any(given.embedding.values):
        faults.append(("/embedding/values", "wanted a direction: a member that is not 0"))
    if faults:
        raise InvalidMemoryError(faults)
    return given


def is_deep(value: object, levels: int) -> bool:
    """Tell whether objects and arrays are nested more than `levels` deep."""
    layer = [value]
    for _ in range(levels):
        layer = [inner for one in layer for inner in _children(one)]
        if not layer:
            return False
    return any(isinstance(one, dict | list) for one in layer)


def escape(name: str) -> str:
    """Return `name` as one token of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")[:128]


def _children(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _time_faults(given: MemoryInput, now_us: int | None) -> list[Fault]:
    faults: list[Fault] = []
    if given.ttl_seconds is not None and given.expires_at is not None:
        faults.append(("/ttl_seconds", "wanted either `ttl_seconds` or `expires_at`, got both"))
    if given.expires_at is not None and now_us is not None and microseconds(given.expires_at) <= now_us:
        faults.append(("/expires_at", "wanted a time in the future; to remove a memory, delete it"))
    if given.valid_from is not None and given.valid_to is not None and given.valid_to <= given.valid_from:
        faults.append(("/valid_to", "wanted a time after `valid_from`"))
    return faults


def _size_fault(name: str, value: Mapping[str, Any], limit_bytes: int) -> list[Fault]:
    if not value:
        return []
    size_bytes = len(_encode(value))
    if size_bytes <= limit_bytes:
        return []
    return [(f"/{name}", f"got {size_bytes} bytes of JSON, wanted at most {limit_bytes}")]


def _kind(value: object) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")
