"""What an import does with a copy: decided purely, so that every store adapter means the same by it.

Import is idempotent by id and version: what is here already stays as it is, and nothing that was erased comes back.
"""

import msgspec

from ragrid.services.memory.changes import MemoryCopy, Stored, Version, is_expired
from ragrid.services.memory.embedding.sources import fault_of_vector, is_brought
from ragrid.services.memory.errors import InvalidBodyError
from ragrid.services.memory.exchange.lines import Copy, MessageCopy, SettingsCopy, StateCopy
from ragrid.services.memory.ground import Ground
from ragrid.services.memory.model import Memory, MemoryInput
from ragrid.services.memory.namespaces import Namespace
from ragrid.services.memory.versions import Place, copied, copied_end, expired
from ragrid.services.memory.working_state import StoredState

_decode = msgspec.json.Decoder(Memory).decode


class Verdict(msgspec.Struct, frozen=True):
    """What became of one copy: taken over, here already, or refused for its faults."""

    is_new: bool = False
    faults: tuple[tuple[str, str], ...] = ()


def decide_memory(
    ground: Ground, copy: MemoryCopy, previous: Copy | None, *, seq: int, now_us: int
) -> tuple[Version, ...]:
    """Return the versions to write, numbered from `seq` on; none when this one is here already.

    `previous` is what was taken over without a fault right before, in the same transaction: what goes on with it goes
    on with what is here, although that may have expired meanwhile. Raises InvalidBodyError when it contradicts that.
    """
    current = ground.stored(copy.scope, copy.id)
    if current is not None and copy.version <= current.version:
        _require_same(ground, copy)
        return ()
    first: tuple[Version, ...] = ()
    if current is not None and is_expired(current, now_us) and not _is_next_of(copy, current, previous):
        # Another life than the one that has expired here: that one ends for good first, as with any other change.
        first = (expired(current, copy.id, seq=seq, at_us=now_us),)
        current = first[0].stored
        if copy.version <= current.version:
            raise _contradiction(copy, f"the memory that is here has expired, as version {current.version}")
    live = None if current is None or current.is_deleted else current
    at = seq + len(first)
    place = Place(position=at if live is None else live.position, version=copy.version, seq=at)
    if copy.given is not None:
        given = _with_fitting_vector(ground, copy)
        own = given.embedding is not None and is_brought(ground.room(copy.scope), ground.grid_models())
        return (*first, copied(copy, given, live, place, is_brought=own))
    if live is None:
        raise InvalidBodyError([("/op", f"there is no memory {copy.id!r} here to delete")])
    return (*first, copied_end(copy, live, place))


def is_new_settings(current: Namespace | None, copy: SettingsCopy) -> bool:
    """Tell whether to take over the settings of a namespace. Raises InvalidBodyError when it has others here."""
    if current is None or current.updated_us is None:
        return True
    if current.room.settings != copy.settings:
        detail = f"the namespace {copy.scope.namespace!r} has other settings here, and keeps them"
        raise InvalidBodyError([("/namespace", detail)])
    return False


def is_of_one_memory(one: Copy, other: Copy) -> bool:
    """Tell whether both are versions of the same memory."""
    return (
        isinstance(one, MemoryCopy) and isinstance(other, MemoryCopy) and (one.scope, one.id) == (other.scope, other.id)
    )


def is_new_message(last_index: int, doc: bytes | None, copy: MessageCopy) -> bool:
    """Tell whether to store the message; `doc` is what is here under its index. Raises InvalidBodyError."""
    if copy.message.index > last_index:
        return True
    if doc is not None and doc != copy.message.doc:
        raise InvalidBodyError([("/index", f"message {copy.message.index} is here with other contents")])
    return False


def is_new_state(current: StoredState, copy: StateCopy) -> bool:
    """Tell whether to store the state. Raises InvalidBodyError."""
    if copy.state.version > current.version:
        return True
    if copy.state.version == current.version and current.data is not None and current.data != copy.state.data:
        raise InvalidBodyError([("/version", f"version {copy.state.version} is here with other contents")])
    return False


def _with_fitting_vector(ground: Ground, copy: MemoryCopy) -> MemoryInput:
    """Return contents without a vector that no search here could use; an embedder makes one of its own."""
    given = copy.given or MemoryInput()
    if given.embedding is None:
        return given
    is_fitting = fault_of_vector(given.embedding, ground.room(copy.scope), ground.grid_models()) is None
    return given if is_fitting else msgspec.structs.replace(given, embedding=None)


def _is_next_of(copy: MemoryCopy, current: Stored, previous: Copy | None) -> bool:
    """Tell whether the copy goes on with the very history that is here."""
    if isinstance(previous, MemoryCopy) and is_of_one_memory(previous, copy) and previous.version == current.version:
        return True
    if copy.version != current.version + 1:
        return False
    return copy.given is None or (copy.created_us, copy.created_by) == (current.created_us, current.created_by)


def _require_same(ground: Ground, copy: MemoryCopy) -> None:
    doc = ground.document(copy.scope, copy.id, copy.version)
    if doc is None or copy.given is None:
        return  # a delete, or contents that are gone from here: neither is brought back
    here = _decode(doc)
    place = Place(position=here.seq, version=copy.version, seq=here.seq)
    if copied(copy, copy.given, None, place).memory != here:
        raise _contradiction(copy, "it is here with other contents")


def _contradiction(copy: MemoryCopy, why: str) -> InvalidBodyError:
    return InvalidBodyError([("/version", f"version {copy.version} of {copy.id!r}: {why}")])
