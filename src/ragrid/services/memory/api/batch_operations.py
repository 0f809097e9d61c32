"""The operations of a batch: what a caller may write, and the change that each is. Pure."""

from hashlib import blake2b
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ragrid.services.memory.api.questions import VersionNumber
from ragrid.services.memory.changes import (
    ANY,
    Change,
    Condition,
    Create,
    Delete,
    Idempotency,
    OnDuplicate,
    Patch,
    Replace,
    Restore,
    Scope,
)
from ragrid.services.memory.errors import InvalidMemoryError
from ragrid.services.memory.ids import IdSource
from ragrid.services.memory.model import DATA_DEPTH, MemoryId, MemoryInput
from ragrid.services.memory.validate import Fault, checked, convert_input, is_deep, parse_object, unknown_members
from ragrid.web.body import locate
from ragrid.web.whole_numbers import decode_whole


class _Operation(msgspec.Struct, frozen=True, kw_only=True, tag_field="op"):
    """One change; `op` tells which kind."""


class _Conditional(_Operation, frozen=True, kw_only=True):
    """`if_match`: the version, one of the versions, or `*` for any. `if_none_match`: only when there is none yet."""

    id: MemoryId
    if_match: VersionNumber | tuple[VersionNumber, ...] | Literal["*"] | None = None


class CreateOperation(_Operation, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="create"):
    """Makes a memory under an id of the service."""

    memory: MemoryInput
    on_duplicate: OnDuplicate | None = None
    idempotency_key: Annotated[str, Meta(pattern=r"^[!-~]{1,255}$(?!\n)")] | None = None


class PutOperation(_Conditional, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="put"):
    """Makes or replaces the memory at a key of the caller's."""

    memory: MemoryInput
    if_none_match: Literal["*"] | None = None


class PatchOperation(_Conditional, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="patch"):
    """Merges a document into a memory (RFC 7396)."""

    patch: dict[str, Any]


class DeleteOperation(_Conditional, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="delete"):
    """Removes a memory; its history stays."""


class RestoreOperation(_Conditional, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="restore"):
    """Makes an earlier version the current one again; the one before the current, when none is named."""

    version: VersionNumber | None = None


BatchOperation = CreateOperation | PutOperation | PatchOperation | DeleteOperation | RestoreOperation

_decode = msgspec.json.Decoder(BatchOperation).decode


class Author(msgspec.Struct, frozen=True):
    """Who asks, when, and inside which walls; `owner` is the user whose memories they are held to."""

    scope: Scope
    actor: str
    at_us: int
    owner: str | None = None


def change_of(raw: bytes, author: Author, ids: IdSource) -> Change:
    """Return the change that one operation is. Raises InvalidMemoryError with all faults, in pointers into it."""
    try:
        one: BatchOperation = decode_whole(_decode, raw)
    except (msgspec.ValidationError, RecursionError) as error:
        raise InvalidMemoryError(_faults_of(raw, author.at_us, error)) from error
    scope, actor, at_us, owner = author.scope, author.actor, author.at_us, author.owner
    match one:
        case CreateOperation():
            given = _within("memory", checked, one.memory, now_us=at_us)
            key = None if one.idempotency_key is None else Idempotency(one.idempotency_key, _digest(author, raw))
            made = ids.new(at_us)
            return Create(scope, made, actor, at_us, given, key, on_duplicate=one.on_duplicate, owner=owner)
        case PutOperation():
            given = _within("memory", checked, one.memory, now_us=at_us)
            return Replace(scope, one.id, actor, at_us, given, condition_of(one.if_match, one.if_none_match), owner)
        case PatchOperation():
            _check_patch(one.patch)
            return Patch(scope, one.id, actor, at_us, one.patch, condition_of(one.if_match), owner)
        case DeleteOperation():
            return Delete(scope, one.id, actor, at_us, condition_of(one.if_match), owner)
        case RestoreOperation():
            return Restore(scope, one.id, actor, at_us, one.version, condition_of(one.if_match), owner)


def located(change: Change, error: InvalidMemoryError) -> InvalidMemoryError:
    """Return what a store found wrong with the contents of `change`, with pointers into its operation."""
    member = "/patch" if isinstance(change, Patch) else ("" if isinstance(change, Restore) else "/memory")
    return InvalidMemoryError([(f"{member}{pointer}", detail) for pointer, detail in error.faults])


def condition_of(
    if_match: int | tuple[int, ...] | Literal["*"] | None, if_none_match: Literal["*"] | None = None
) -> Condition:
    """Return what the members of an operation ask of the memory that it changes."""
    if if_match is None and if_none_match is None:
        return ANY
    must_be_absent = if_none_match is not None
    if if_match is None or if_match == "*":
        return Condition(must_exist=if_match == "*", must_be_absent=must_be_absent)
    versions = (if_match,) if isinstance(if_match, int) else if_match
    return Condition(versions=frozenset(versions), must_be_absent=must_be_absent)


def _check_patch(patch: dict[str, Any]) -> None:
    faults = [(f"/patch{pointer}", detail) for pointer, detail in unknown_members(patch)]
    if is_deep(patch, DATA_DEPTH + 1):
        faults.append(("/patch", f"nested more than {DATA_DEPTH + 1} levels deep"))
    if faults:
        raise InvalidMemoryError(faults)


def _within(member: str, check: Any, value: Any, **named: Any) -> Any:
    """Call `check`, and let the faults that it finds point into `member`."""
    try:
        return check(value, **named)
    except InvalidMemoryError as error:
        raise InvalidMemoryError([(f"/{member}{pointer}", detail) for pointer, detail in error.faults]) from error


def _faults_of(raw: bytes, now_us: int, error: Exception) -> list[Fault]:
    """Return what is wrong with an operation: all faults of its memory when it has one, else the first found."""
    if isinstance(error, RecursionError):
        return [("", "nested too deeply")]
    try:
        given = parse_object(raw)
        if isinstance(given.get("memory"), dict):
            _within("memory", convert_input, given["memory"], now_us=now_us)
    except InvalidMemoryError as found:
        return list(found.faults)
    what, pointer = locate(str(error), BatchOperation)
    return [(pointer, what)]


def _digest(author: Author, raw: bytes) -> bytes:
    owner = b"" if author.owner is None else b"\0\0" + author.owner.encode()
    return blake2b(author.scope.namespace.encode() + b"\0" + raw + owner, digest_size=16).digest()
