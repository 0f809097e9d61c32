"""One line of an export: rendered from what is stored, and read back into what an import takes. Pure.

A line says nothing that only one store knows (`seq`), so an export of what was imported has the same bytes.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ragrid.services.memory.changes import MemoryCopy, Scope
from ragrid.services.memory.errors import InvalidBodyError, InvalidMemoryError
from ragrid.services.memory.messages import AppendRequest, Message, MessageInput, Role, StoredMessage, append_faults
from ragrid.services.memory.model import (
    WRITABLE,
    Memory,
    MemoryId,
    Moment,
    Name,
    Scalar,
    microseconds,
    moment,
)
from ragrid.services.memory.validate import convert_input
from ragrid.services.memory.working_state import StateInput, StoredState, state_faults
from ragrid.web.body import locate

Whole = Annotated[int, Meta(ge=1, le=2**53)]
#: No store of ours takes a null character in a name.
Actor = Annotated[str, Meta(pattern=r"^[^\x00]{1,256}$")]
NamespaceName = Annotated[str, Meta(pattern="^[A-Za-z0-9._~-]{1,64}$")]
ContentOp = Literal["create", "update", "restore", "supersede", "delete"]

#: What a line holds of a document, in its order: what callers say, and three things that the service adds for good.
_SERVICE = ("superseded_by", "created_at", "created_by")
CARRIED = tuple(name for name in Memory.__struct_fields__ if name in WRITABLE or name in _SERVICE)

_encode = msgspec.json.Encoder().encode
_decode_raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_DEFAULTS = {"supersedes": msgspec.Raw(b"[]"), "superseded_by": msgspec.Raw(b"null")}


class HeaderLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="header"):
    """The first line: what this is."""

    format: Literal["ragrid-memory"]
    format_version: Literal[1]


class EndLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="end"):
    """The last line: how many came between the first and it. Without it, an export was cut off."""

    lines: Annotated[int, Meta(ge=0)]


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


Copy = MemoryCopy | MessageCopy | StateCopy

_decode = msgspec.json.Decoder(HeaderLine | EndLine | MemoryLine | MessageLine | StateLine).decode


def header_line() -> bytes:
    """Return the first line of an export."""
    return _encode(HeaderLine(format="ragrid-memory", format_version=1)) + b"\n"


def end_line(lines: int) -> bytes:
    """Return the last line of an export; `lines` came between the two."""
    return _encode(EndLine(lines=lines)) + b"\n"


def memory_line(scope: Scope, memory_id: str, *, op: str, version: int, at_us: int, actor: str, doc: bytes) -> bytes:
    """Return the line for one version; `doc` is empty for a delete. Members of `data` are copied, not read."""
    memory = None
    if doc:
        stored = {**_DEFAULTS, **_decode_raw(doc)}
        memory = {name: stored[name] for name in CARRIED}
    beside = {"op": op, "namespace": scope.namespace, "id": memory_id, "version": version}
    return _encode({"kind": "memory", **beside, "at": moment(at_us), "actor": actor, "memory": memory}) + b"\n"


def session_line(kind: Literal["message", "state"], doc: bytes) -> bytes:
    """Return the line for a message's or a state's document."""
    return b'{"kind":"%s",%s\n' % (kind.encode(), doc[1:])


def parse_line(text: bytes, *, tenant: str, namespace: str | None) -> Copy | HeaderLine | EndLine:
    """Return what a line holds; with `namespace`, it goes there whatever the line says.

    Raises InvalidBodyError with all faults and their pointers.
    """
    try:
        line = _decode(text)
    except msgspec.ValidationError as error:
        what, pointer = locate(str(error))
        raise InvalidBodyError([(pointer, what)]) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidBodyError([("", f"not JSON: {error}")]) from error
    if isinstance(line, HeaderLine | EndLine):
        return line
    scope = Scope(tenant, namespace or line.namespace)
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
    try:
        given = convert_input({name: value for name, value in line.memory.items() if name not in _SERVICE}, now_us=None)
    except InvalidMemoryError as error:
        faults += [(f"/memory{pointer}", detail) for pointer, detail in error.faults]
    strange = [name for name in line.memory if name in WRITABLE and name not in CARRIED]
    faults += [(f"/memory/{name}", "no member of an export; leave it out") for name in strange]
    if faults:
        raise InvalidBodyError(sorted(faults))
    superseded_by, created_at, created_by = service
    return msgspec.structs.replace(
        bare, given=given, superseded_by=superseded_by, created_us=microseconds(created_at), created_by=created_by
    )


def _service_members(memory: dict[str, Any]) -> tuple[Any, list[tuple[str, str]]]:
    """Return what only a service may say of a memory, in the order of _SERVICE, and what is wrong with it."""
    wanted: tuple[Any, ...] = (MemoryId | None, Moment, Actor)
    found: list[Any] = []
    faults: list[tuple[str, str]] = []
    for name, kind in zip(_SERVICE, wanted, strict=True):
        try:
            found.append(msgspec.convert(memory.get(name), kind))
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
