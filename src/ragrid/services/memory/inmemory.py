"""`InMemoryStore`: a MemoryStore that forgets everything with its process. For tests, and as the plainest reading of
what the protocol means.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from ragrid.services.memory.changes import (
    Change,
    Create,
    Idempotency,
    Scope,
    Stored,
    Version,
    decide,
    expire,
    is_expired,
    is_visible,
)
from ragrid.services.memory.errors import KeyReusedError, ReplayGoneError
from ragrid.services.memory.model import Memory, searchable
from ragrid.services.memory.store import (
    IDEMPOTENCY_US,
    Event,
    Filter,
    Hit,
    Page,
    Read,
    Stats,
    Written,
    hits_of,
    is_replay_of,
    written,
)
from ragrid.services.memory.words import folded

#: The constants of bm25 that FTS5 uses too: https://www.sqlite.org/fts5.html#the_bm25_function
_K1 = 1.2
_B = 0.75

Key = tuple[Scope, str]


class _Row(msgspec.Struct, frozen=True):
    stored: Stored
    memory: Memory | None


class _Remembered(msgspec.Struct, frozen=True):
    idempotency: Idempotency
    key: Key
    result: Written
    expires_us: int


class InMemoryStore:
    """A MemoryStore in dictionaries; never full, never broken, durable for as long as it lives."""

    def __init__(self) -> None:
        self._rows: dict[Key, _Row] = {}
        self._events: dict[Key, list[Event]] = {}
        self._requests: dict[tuple[str, str, str], _Remembered] = {}
        self._seq = 0

    async def read(self, scope: Scope, memory_id: str, *, now_us: int) -> Read | None:
        """See MemoryStore."""
        row = self._rows.get((scope, memory_id))
        if row is None or not is_visible(row.stored, now_us):
            return None
        return Read(row.stored.version, row.stored.doc)

    async def change(self, change: Change) -> Written:
        """See MemoryStore."""
        key = (change.scope, change.id)
        idempotency = change.idempotency if isinstance(change, Create) else None
        if isinstance(change, Create) and idempotency is not None:
            replay = self._replay(change, idempotency)
            if replay is not None:
                return replay
        row = self._rows.get(key)
        versions = decide(row.stored if row else None, change, seq=self._seq + 1)
        for version in versions:
            self._apply(key, version)
        result = written(versions)
        if idempotency is not None:
            name = (change.scope.tenant, change.actor, idempotency.key)
            self._requests[name] = _Remembered(idempotency, key, result, change.at_us + IDEMPOTENCY_US)
        return result

    async def page(self, scope: Scope, wanted: Filter, *, now_us: int, limit: int, before: int | None = None) -> Page:
        """See MemoryStore."""
        rows = sorted(self._matching(scope, wanted, now_us), key=lambda row: -row.stored.position)
        rows = [row for row in rows if before is None or row.stored.position < before]
        more = rows[limit - 1].stored.position if len(rows) > limit else None
        return Page(tuple(row.stored.doc for row in rows[:limit]), more)

    async def search(
        self, scope: Scope, query: tuple[str, ...], wanted: Filter, *, now_us: int, limit: int
    ) -> tuple[Hit, ...]:
        """See MemoryStore."""
        documents = {row.stored.position: _words(row) for row in self._matching(scope, Filter(), now_us)}
        words = [word for one in query for word in folded(one)]
        hits = [
            (score, row.stored)
            for row in self._matching(scope, wanted, now_us)
            if (score := _bm25(words, documents[row.stored.position], documents.values())) > 0
        ]
        hits.sort(key=lambda hit: (-hit[0], -hit[1].position))
        return hits_of([(score, stored.doc) for score, stored in hits[:limit]])

    async def history(
        self, scope: Scope, memory_id: str, *, now_us: int, limit: int, before: int | None = None
    ) -> tuple[Event, ...] | None:
        """See MemoryStore."""
        row = self._rows.get((scope, memory_id))
        events = self._events.get((scope, memory_id), [])
        if row is None or is_expired(row.stored, now_us) or events[-1].op == "expire":
            return None
        return tuple(event for event in reversed(events) if before is None or event.seq < before)[:limit]

    async def sweep(self, *, now_us: int, limit: int) -> int:
        """See MemoryStore."""
        expired = [(key, row.stored) for key, row in self._rows.items() if is_expired(row.stored, now_us)]
        expired.sort(key=lambda one: one[1].expires_us or 0)
        for key, stored in expired[:limit]:
            self._apply(key, expire(stored, key[1], seq=self._seq + 1, at_us=now_us))
        old = [name for name, one in self._requests.items() if one.expires_us <= now_us]
        for name in old[:limit]:
            del self._requests[name]
        return len(expired[:limit])

    async def probe(self) -> None:
        """See MemoryStore."""

    async def stats(self) -> Stats:
        """See MemoryStore."""
        live = [row for row in self._rows.values() if not row.stored.is_deleted]
        return Stats(len(live), sum(len(row.stored.doc) for row in live))

    async def close(self) -> None:
        """See MemoryStore."""

    def _apply(self, key: Key, version: Version) -> None:
        self._seq = version.seq
        events = self._events.setdefault(key, [])
        if version.op == "expire":
            events[:] = [msgspec.structs.replace(event, doc=None) for event in events]
        doc = version.doc or None
        events.append(Event(version.seq, version.version, version.op, version.actor, version.at_us, doc))
        stored = Stored(
            position=version.position,
            version=version.version,
            doc=version.doc,
            created_us=version.created_us,
            created_by=version.created_by,
            expires_us=version.expires_us,
            is_deleted=version.memory is None,
        )
        self._rows[key] = _Row(stored, version.memory)

    def _matching(self, scope: Scope, wanted: Filter, now_us: int) -> list[_Row]:
        return [
            row
            for (owner, _), row in self._rows.items()
            if owner == scope and is_visible(row.stored, now_us) and row.memory and _fits(row.memory, wanted)
        ]

    def _replay(self, create: Create, idempotency: Idempotency) -> Written | None:
        known = self._requests.get((create.scope.tenant, create.actor, idempotency.key))
        if known is None or known.expires_us <= create.at_us:
            return None
        if not is_replay_of(create, known.idempotency.fingerprint):
            raise KeyReusedError(f"idempotency key {idempotency.key!r} came before with another request")
        created = next(event for event in self._events[known.key] if event.version == known.result.version)
        if created.doc is None or is_expired(self._rows[known.key].stored, create.at_us):
            raise ReplayGoneError(f"the memory that idempotency key {idempotency.key!r} made has expired")
        return msgspec.structs.replace(known.result, is_replay=True)


def _fits(memory: Memory, wanted: Filter) -> bool:
    return set(wanted.tags) <= set(memory.tags) and all(
        value is None or getattr(memory, name) == value
        for name, value in (
            ("type", wanted.type),
            ("user_id", wanted.user_id),
            ("agent_id", wanted.agent_id),
            ("session_id", wanted.session_id),
        )
    )


def _words(row: _Row) -> Counter[str]:
    return Counter(word for text in searchable(row.memory) for word in folded(text)) if row.memory else Counter()


def _bm25(words: Sequence[str], document: Counter[str], documents: Iterable[Counter[str]]) -> float:
    every = list(documents)
    average = sum(one.total() for one in every) / len(every) or 1.0
    score = 0.0
    for word in words:
        holding = sum(1 for one in every if word in one)
        rarity = max(math.log((len(every) - holding + 0.5) / (holding + 0.5)), 1e-6)
        frequency = document[word]
        score += rarity * frequency * (_K1 + 1) / (frequency + _K1 * (1 - _B + _B * document.total() / average))
    return score
