"""Changes of a caller who is held to the memories of one user: everybody else's are not there. Pure."""

import msgspec

from ragrid.services.memory.changes import Change, Create, Replace, is_visible
from ragrid.services.memory.errors import InvalidMemoryError, no_memory
from ragrid.services.memory.ground import Ground
from ragrid.services.memory.model import MemoryInput


class _Owned(msgspec.Struct):
    user_id: str | None


_decode = msgspec.json.Decoder(_Owned).decode


def is_owned(doc: bytes, owner: str | None) -> bool:
    """Tell whether a document may be seen by somebody who is held to `owner`; None stands for nobody in particular."""
    return owner is None or _decode(doc).user_id == owner


def held_to_owner(ground: Ground, change: Change, owner: str) -> Change:
    """Return the change, with contents that name no user made the owner's.

    Raises NotFoundError for another's memory, and InvalidMemoryError for contents that name another.
    """
    current = None if isinstance(change, Create) else ground.stored(change.scope, change.id)
    if current is not None and is_visible(current, change.at_us) and not is_owned(current.doc, owner):
        raise no_memory(change.id, change.scope.namespace)
    if isinstance(change, Create | Replace):
        return msgspec.structs.replace(change, given=owned(change.given, owner))
    return change


def owned(given: MemoryInput, owner: str) -> MemoryInput:
    """Return contents that name no user with the owner's name. Raises InvalidMemoryError when they name another."""
    if given.user_id is None:
        return msgspec.structs.replace(given, user_id=owner)
    if given.user_id != owner:
        raise InvalidMemoryError([("/user_id", f"the token is for the memories of {owner!r} alone")])
    return given
