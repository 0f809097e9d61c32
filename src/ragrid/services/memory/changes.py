"""The changes that callers ask for, what a store holds, and the versions that it writes. `deciding.py` leads from the
first two to the last.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from ragrid.services.memory.model import Memory, MemoryInput
from ragrid.services.memory.vectors import GivenVector

#: `supersede`: another memory took its place. `expire` and `purge` erase the contents, also those in the history.
Op = Literal["create", "update", "restore", "supersede", "delete", "expire", "purge"]
#: What a create does when the same contents are there: make another one, give that one back, or take its place.
OnDuplicate = Literal["keep", "return", "supersede"]


class Scope(msgspec.Struct, frozen=True):
    """The walls around a memory: nothing is ever seen or touched across either."""

    tenant: str
    namespace: str


class Condition(msgspec.Struct, frozen=True):
    """What must hold before a change: one of `versions`, or that the memory is there, or that it is not."""

    versions: frozenset[int] | None = None
    must_exist: bool = False
    must_be_absent: bool = False


class Idempotency(msgspec.Struct, frozen=True):
    """A caller's name for one request, and a digest of that request."""

    key: str
    fingerprint: bytes


ANY = Condition()

# What callers ask for. `owner` is the user whose memories they are held to: everybody else's are not there for them.


class _Wish(msgspec.Struct, frozen=True):
    """Which memory is to change, and who wants it when."""

    scope: Scope
    id: str
    actor: str
    at_us: int


class Create(_Wish, frozen=True):
    """Make a memory under an id that was never used."""

    given: MemoryInput
    idempotency: Idempotency | None = None
    condition: Condition = ANY
    #: None: as the namespace has it.
    on_duplicate: OnDuplicate | None = None
    owner: str | None = None


class Replace(_Wish, frozen=True):
    """Make or replace the memory at a key of the caller's."""

    given: MemoryInput
    condition: Condition = ANY
    owner: str | None = None


class Patch(_Wish, frozen=True):
    """Merge a document into a memory (RFC 7396)."""

    patch: Mapping[str, Any]
    condition: Condition = ANY
    owner: str | None = None


class Delete(_Wish, frozen=True):
    """Remove a memory; its history stays."""

    condition: Condition = ANY
    owner: str | None = None


class Restore(_Wish, frozen=True):
    """Make an earlier version the current one again; without `version`, the one before the current."""

    version: int | None = None
    condition: Condition = ANY
    owner: str | None = None


class Purge(_Wish, frozen=True):
    """Erase a memory with its history, deleted before or not; only the id and its last version number stay."""

    condition: Condition = ANY
    owner: str | None = None


class MemoryCopy(msgspec.Struct, frozen=True):
    """Take over one version as another store had it; `given` is None for a delete."""

    scope: Scope
    id: str
    op: Op
    version: int
    at_us: int
    actor: str
    given: MemoryInput | None
    superseded_by: str | None = None
    created_us: int = 0
    created_by: str = ""


Change = Create | Replace | Patch | Delete | Restore | Purge


class Stored(msgspec.Struct, frozen=True):
    """What a store holds under an id. `position` is the `seq` at which the memory was made: the order of lists."""

    position: int
    version: int
    doc: bytes
    created_us: int
    created_by: str
    expires_us: int | None
    is_deleted: bool
    #: Nothing is left of it, not in the history either.
    is_erased: bool = False
    superseded_by: str | None = None


class Version(msgspec.Struct, frozen=True):
    """One step in the life of a memory; `memory` is None and `doc` empty when the step ends it.

    `rows_delta` and `size_delta` are what it adds to its namespace: live memories, and bytes of their documents.
    """

    op: Op
    id: str
    position: int
    version: int
    seq: int
    at_us: int
    actor: str
    created_us: int
    created_by: str
    memory: Memory | None
    doc: bytes
    expires_us: int | None
    rows_delta: int
    size_delta: int
    #: What a memory with the same contents has too; see `fingerprint_of`.
    fingerprint: bytes | None = None
    #: The vector that the caller brought for this very text.
    embedding: GivenVector | None = None
    #: It is of the namespace's own model, and fixes that when it is the first.
    is_brought: bool = False

    @property
    def is_made(self) -> bool:
        """It starts a life: the memory stands first in lists from now on."""
        return self.memory is not None and self.position == self.seq

    @property
    def is_erasing(self) -> bool:
        """Contents go from the history, too."""
        return self.op in {"expire", "purge"}

    @property
    def stored(self) -> Stored:
        """What a store holds after it."""
        return Stored(
            position=self.position,
            version=self.version,
            doc=self.doc,
            created_us=self.created_us,
            created_by=self.created_by,
            expires_us=self.expires_us,
            is_deleted=self.memory is None,
            is_erased=self.is_erasing,
            superseded_by=None if self.memory is None else self.memory.superseded_by,
        )


def is_visible(stored: Stored, now_us: int) -> bool:
    """Tell whether a reader sees it at `now_us`: not deleted, and not at or past its expiry."""
    return not stored.is_deleted and not is_expired(stored, now_us)


def is_expired(stored: Stored, now_us: int) -> bool:
    """Tell whether its time is over at `now_us`, deleted or not."""
    return stored.expires_us is not None and stored.expires_us <= now_us
