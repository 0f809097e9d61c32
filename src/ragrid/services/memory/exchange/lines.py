"""One line of an export: rendered from what is stored, and read back into what an import takes. Pure.

A line says nothing that only one store knows (`seq`), so an export of what was imported has the same bytes. Version 1
of the format had neither settings of namespaces nor vectors; it is read as before.
"""

import base64
import binascii
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta

from ragrid.services.memory.changes import MemoryCopy, Scope
from ragrid.services.memory.embedding.matrix import STORED
from ragrid.services.memory.errors import InvalidBodyError, InvalidMemoryError
from ragrid.services.memory.messages import AppendRequest, Message, MessageInput, Role, StoredMessage, append_faults
from ragrid.services.memory.model import (
    BEYOND_CALENDAR,
    WRITABLE,
    Memory,
    MemoryId,
    Moment,
    Name,
    NamespaceName,
    Scalar,
    is_in_calendar,
    microseconds,
    moment,
)
from ragrid.services.memory.namespaces import Namespace, NamespaceSettings
from ragrid.services.memory.validate import convert_input
from ragrid.services.memory.vectors import DIMENSION_LIMIT, GivenVector
from ragrid.services.memory.working_state import StateInput, StoredState, state_faults
from ragrid.web.body import locate
from ragrid.web.whole_numbers import decode_whole

Whole = Annotated[int, Meta(ge=1, le=2**53)]
#: No store of ours takes a null character in a name.
Actor = Annotated[str, Meta(pattern=r"^[^\x00]{1,256}$(?!\n)")]
ContentOp = Literal["create", "update", "restore", "supersede", "delete"]

#: What a line holds of a document, in its order: what callers say, and three things that the service adds for good.
_SERVICE = ("superseded_by", "created_at", "created_by")
#: The times that a line may hold beside a memory.
_TIMES = ("at", "created_at", "updated_at", "expires_at")
#: What is read apart from what callers say.
_APART = (*_SERVICE, "embedding")
CARRIED = tuple(name for name in Memory.__struct_fields__ if name in WRITABLE or name in _SERVICE)

_encode = msgspec.json.Encoder().encode
_decode_raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_DEFAULTS = {"supersedes": msgspec.Raw(b"[]"), "superseded_by": msgspec.Raw(b"null")}


class HeaderLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="header"):
    """The first line: what this is."""

    format: Literal["ragrid-memory"]
    format_version: Literal[1, 2]


class EndLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="end"):
    """The last line: how many came between the first and it. Without it, an export was cut off."""

    lines: Annotated[int, Meta(ge=0)]


class NamespaceLine(
    NamespaceSettings, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="namespace"
):
    """The settings of a namespace that somebody has set."""

    namespace: NamespaceName
    updated_at: Moment
    updated_by: Actor


class CarriedVector(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A vector that a caller brought, as the store has rounded it: half precision, little endian, in base64."""

    model: Annotated[str, Meta(min_length=1, max_length=128)]
    float16: Annotated[str, Meta(min_length=1, max_length=4 * DIMENSION_LIMIT)]


class MemoryLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="memory"):
    """One version of a memory; `memory` is null for a delete."""

    op: ContentOp
    namespace: NamespaceName
    id: MemoryId
    version: Whole
    at: Moment
    actor: Actor
    memory: dict[str, Any] | None


class MessageLine(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="message"
):
    """One message of a session."""

    session_id: MemoryId
    namespace: NamespaceName
    index: Whole
    role: Role
    name: Name | None
    content: str
    data: dict[str, Any]
    metadata: dict[Name, Scalar]
    expires_at: Moment | None
    created_at: Moment
    created_by: Actor


class StateLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="state"):
    """The working state of a session."""

    session_id: MemoryId
    namespace: NamespaceName
    data: dict[str, Any]
    ttl_seconds: Whole | None
    expires_at: Moment | None
    version: Whole
    updated_at: Moment
    updated_by: Actor


class SettingsCopy(msgspec.Struct, frozen=True):
    """The settings of a namespace to take over."""

    scope: Scope
    settings: NamespaceSettings
    at_us: int
    actor: str


class MessageCopy(msgspec.Struct, frozen=True):
    """One message to take over."""

    scope: Scope
    session_id: str
    message: StoredMessage


class StateCopy(msgspec.Struct, frozen=True):
    """A state to take over."""

    scope: Scope
    session_id: str
    state: StoredState


Copy = SettingsCopy | MemoryCopy | MessageCopy | StateCopy

_LINE = HeaderLine | EndLine | NamespaceLine | MemoryLine | MessageLine | StateLine
_decode = msgspec.json.Decoder(_LINE).decode


def header_line() -> bytes:
    """Return the first line of an export."""
    return _encode(HeaderLine(format="ragrid-memory", format_version=2)) + b"\n"


def end_line(lines: int) -> bytes:
    """Return the last line of an export; `lines` came between the two."""
    return _encode(EndLine(lines=lines)) + b"\n"


def namespace_lines(one: Namespace) -> tuple[bytes, ...]:
    """Return the line for the settings of a namespace, none when nobody has ever set them."""
    if one.updated_us is None:
        return ()
    settings = {"kind": "namespace", "namespace": one.name, **msgspec.structs.asdict(one.room.settings)}
    line = {**settings, "updated_at": moment(one.updated_us), "updated_by": one.updated_by}
    return (_encode(line) + b"\n",)


class Step(NamedTuple):
    """One version of a memory as a store holds it; a delete has no document."""

    op: str
    version: int
    at_us: int
    actor: str
    doc: bytes | None


def memory_line(scope: Scope, memory_id: str, step: Step, vector: tuple[str, bytes] | None = None) -> bytes:
    """Return the line for one version. Members of `data` are copied, not read.

    `vector` is what a caller brought for it: the model, and the bytes as they are stored.
    """
    memory: dict[str, Any] | None = None
    if step.doc:
        stored = {**_DEFAULTS, **_decode_raw(step.doc)}
        memory = {name: stored[name] for name in CARRIED}
        if vector is not None:
            memory["embedding"] = CarriedVector(model=vector[0], float16=base64.b64encode(vector[1]).decode())
    beside = {"op": step.op, "namespace": scope.namespace, "id": memory_id, "version": step.version}
    line = {"kind": "memory", **beside, "at": moment(step.at_us), "actor": step.actor, "memory": memory}
    return _encode(line) + b"\n"


def session_line(kind: Literal["message", "state"], doc: bytes) -> bytes:
    """Return the line for a message's or a state's document."""
    return b'{"kind":"%s",%s\n' % (kind.encode(), doc[1:])


def parse_line(text: bytes, *, tenant: str, namespace: str | None) -> Copy | HeaderLine | EndLine:
    """Return what a line holds; with `namespace`, it goes there whatever the line says.

    Raises InvalidBodyError with all faults and their pointers.
    """
    try:
        line = decode_whole(_decode, text)
    except msgspec.ValidationError as error:
        what, pointer = locate(str(error), _LINE)
        raise InvalidBodyError([(pointer, what)]) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidBodyError([("", f"not JSON: {error}")]) from error
    if isinstance(line, HeaderLine | EndLine):
        return line
    beyond = [name for name in _TIMES if not is_in_calendar(getattr(line, name, None))]
    if beyond:
        raise InvalidBodyError([(f"/{name}", BEYOND_CALENDAR) for name in beyond])
    scope = Scope(tenant, namespace or line.namespace)
    if isinstance(line, NamespaceLine):
        named = NamespaceSettings.__struct_fields__
        settings = NamespaceSettings(**{name: getattr(line, name) for name in named})
        return SettingsCopy(scope, settings, microseconds(line.updated_at), line.updated_by)
    if isinstance(line, MemoryLine):
        return _memory_copy(scope, line)
    return _message_copy(scope, line) if isinstance(line, MessageLine) else _state_copy(scope, line)


def _memory_copy(scope: Scope, line: MemoryLine) -> MemoryCopy:
    bare = MemoryCopy(scope, line.id, line.op, line.version, microseconds(line.at), line.actor, None)
    if (line.memory is None) != (line.op == "delete"):
        raise InvalidBodyError([("/memory", "wanted null for a delete, and an object for everything else")])
    if line.memory is None:
        return bare
    service, faults = _service_members(line.memory)
    brought, vector_faults = _brought(line.memory.get("embedding"))
    faults += vector_faults
    try:
        given = convert_input({name: value for name, value in line.memory.items() if name not in _APART}, now_us=None)
    except InvalidMemoryError as error:
        faults += [(f"/memory{pointer}", detail) for pointer, detail in error.faults]
    strange = [name for name in line.memory if name in WRITABLE and name not in {*CARRIED, *_APART}]
    faults += [(f"/memory/{name}", "no member of an export; leave it out") for name in strange]
    if faults:
        raise InvalidBodyError(sorted(faults))
    superseded_by, created_at, created_by = service
    given = msgspec.structs.replace(given, embedding=brought)
    return msgspec.structs.replace(
        bare, given=given, superseded_by=superseded_by, created_us=microseconds(created_at), created_by=created_by
    )


def _brought(value: Any) -> tuple[GivenVector | None, list[tuple[str, str]]]:
    """Return the vector that a line carries, and what is wrong with it."""
    if value is None:
        return None, []
    try:
        carried = msgspec.convert(value, CarriedVector)
        row = np.frombuffer(base64.b64decode(carried.float16, validate=True), STORED)
    except msgspec.ValidationError as error:
        what, pointer = locate(str(error))
        return None, [(f"/memory/embedding{pointer}", what)]
    except (binascii.Error, ValueError):
        return None, [("/memory/embedding/float16", "not the base64 of numbers in half precision")]
    if not np.isfinite(row).all() or not row.any():
        return None, [("/memory/embedding/float16", "wanted a direction: finite members, not all of them 0")]
    return GivenVector(model=carried.model, values=tuple(row.tolist())), []


def _service_members(memory: dict[str, Any]) -> tuple[Any, list[tuple[str, str]]]:
    """Return what only a service may say of a memory, in the order of _SERVICE, and what is wrong with it."""
    wanted: tuple[Any, ...] = (MemoryId | None, Moment, Actor)
    found: list[Any] = []
    faults: list[tuple[str, str]] = []
    for name, kind in zip(_SERVICE, wanted, strict=True):
        try:
            found.append(msgspec.convert(memory.get(name), kind))
            if name == "created_at" and not is_in_calendar(found[-1]):
                faults.append((f"/memory/{name}", BEYOND_CALENDAR))
        except msgspec.ValidationError as error:
            faults.append((f"/memory/{name}", locate(str(error))[0]))
    return found, faults


def _message_copy(scope: Scope, line: MessageLine) -> MessageCopy:
    given = MessageInput(role=line.role, content=line.content, name=line.name, data=line.data, metadata=line.metadata)
    faults = append_faults(AppendRequest(messages=(given,)))
    if faults:
        raise InvalidBodyError([(pointer.removeprefix("/messages/0"), detail) for pointer, detail in faults])
    message = Message(
        session_id=line.session_id,
        namespace=scope.namespace,
        index=line.index,
        role=line.role,
        name=line.name,
        content=line.content,
        data=line.data,
        metadata=line.metadata,
        expires_at=_exact(line.expires_at),
        created_at=moment(microseconds(line.created_at)),
        created_by=line.created_by,
    )
    expires_us = None if line.expires_at is None else microseconds(line.expires_at)
    return MessageCopy(scope, line.session_id, StoredMessage(line.index, expires_us, _encode(message)))


def _state_copy(scope: Scope, line: StateLine) -> StateCopy:
    faults = state_faults(StateInput(data=line.data))
    if faults:
        raise InvalidBodyError(faults)
    state = StoredState(
        version=line.version,
        data=_encode(line.data),
        ttl_s=line.ttl_seconds,
        expires_us=None if line.expires_at is None else microseconds(line.expires_at),
        updated_us=microseconds(line.updated_at),
        updated_by=line.updated_by,
    )
    return StateCopy(scope, line.session_id, state)


def _exact(at: datetime | None) -> datetime | None:
    return None if at is None else moment(microseconds(at))
