"""The change feed: what happened to the memories of a namespace, in the order of the commits."""

from typing import Protocol

import msgspec

from ragrid.services.memory.changes import Scope
from ragrid.services.memory.feed.watch import Watches

#: Documents that one answer of the feed holds at most, bytes; at least one change is in it, however large.
PAGE_BYTES = 1024 * 1024


class FeedEvent(msgspec.Struct, frozen=True):
    """One change; `doc` is None for an end, and where the content has expired or was purged."""

    seq: int
    op: str
    id: str
    version: int
    at_us: int
    actor: str
    doc: bytes | None


class Changes(msgspec.Struct, frozen=True):
    """Changes of one namespace. `last_seq` is the last of the tenant, or of the whole store, at that moment."""

    events: tuple[FeedEvent, ...]
    last_seq: int
    has_more: bool


class Feed(Protocol):
    """Every version of every memory is one change.

    A change that becomes visible never has a `seq` below one that was visible before: who goes on after the last `seq`
    that it has seen misses nothing.
    """

    @property
    def watches(self) -> Watches:
        """Who waits for changes; an adapter wakes them after each commit, its own or another process's."""
        ...

    async def changes(self, scope: Scope, *, since: int, now_us: int, limit: int) -> Changes:
        """Return up to `limit` changes with a `seq` above `since`, oldest first."""
        ...
