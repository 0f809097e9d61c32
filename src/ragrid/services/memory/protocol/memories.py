"""Memories one by one and in lists: what a store does with them. Times are microseconds since the Unix epoch.

A store has no clock: each call says what time it is, and a memory whose `expires_us` is not later than that is
invisible to it, swept or not.
"""

from datetime import datetime
from typing import Protocol

import msgspec

from ragrid.services.memory.changes import Change, Scope
from ragrid.services.memory.filters.model import Condition
from ragrid.services.memory.model import microseconds

#: How long an idempotency key is remembered: 24 hours.
IDEMPOTENCY_US = 86_400_000_000


class Read(msgspec.Struct, frozen=True):
    """The current version of one memory, rendered."""

    version: int
    doc: bytes


class Written(msgspec.Struct, frozen=True):
    """What a change left behind; `doc` is empty after an end. `is_new`: there was no such memory before."""

    id: str
    version: int
    doc: bytes
    is_new: bool
    is_replay: bool = False


class Filter(msgspec.Struct, frozen=True):
    """What a memory must match, all of it: each tag, every member that is not None, and the condition `where`."""

    type: str | None = None
    tags: tuple[str, ...] = ()
    user_id: str | None = None
    agent_id: str | None = None
    session_id: str | None = None
    where: Condition | None = None


class Page(msgspec.Struct, frozen=True):
    """Some memories, newest first; `next_position` continues below the last one, None means that there are no more."""

    docs: tuple[bytes, ...]
    next_position: int | None


class Event(msgspec.Struct, frozen=True):
    """One version in a memory's history; `doc` is None for a delete and where the content has expired."""

    seq: int
    version: int
    op: str
    actor: str
    at_us: int
    doc: bytes | None


class Memories(Protocol):
    """Memories, their history and their idempotency keys."""

    async def read(self, scope: Scope, memory_id: str, *, now_us: int) -> Read | None:
        """Return the current version, or None when there is none that `scope` may see now."""
        ...

    async def read_past(
        self, scope: Scope, memory_id: str, *, now_us: int, version: int | None = None, as_of_us: int | None = None
    ) -> Read | None:
        """Return one version by its number, or the one that a reader saw at `as_of_us`.

        None when there is none, or when nothing may be seen of the memory's past any more (see `history`).
        """
        ...

    async def change(self, change: Change) -> Written:
        """Carry out one change and return once it is durable.

        Raises what `decide` does (deciding.py), StoreBusyError or StoreFullError.
        """
        ...

    async def page(self, scope: Scope, wanted: Filter, *, now_us: int, limit: int, before: int | None = None) -> Page:
        """Return up to `limit` memories made before position `before`, newest first.

        A memory that exists through a whole walk is in it exactly once, whatever is written meanwhile.
        """
        ...

    async def history(
        self, scope: Scope, memory_id: str, *, now_us: int, limit: int, before: int | None = None
    ) -> tuple[Event, ...] | None:
        """Return up to `limit` events with `seq` under `before`, newest first; None when nothing may be seen."""
        ...


def past_read(version: int, doc: bytes | None, as_of_us: int | None) -> Read | None:
    """Return what a reader sees of a version; at `as_of_us` it may have been over already."""
    if doc is None:
        return None
    life = _decode_life(doc)
    if as_of_us is not None and life.expires_at is not None and not life.pinned:
        return None if microseconds(life.expires_at) <= as_of_us else Read(version, doc)
    return Read(version, doc)


class _Life(msgspec.Struct):
    expires_at: datetime | None
    pinned: bool


_decode_life = msgspec.json.Decoder(_Life).decode
