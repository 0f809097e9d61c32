"""What one transaction knows and is going to write. Pure: the server is asked before and told after, once for all.

Because a transaction holds its tenant's lock, nothing that was loaded can change under it. So changes are decided here,
one upon the other, by the same code as in every store, and the server gets their sum: a few statements for a whole
batch instead of a few for each change.
"""

from collections import defaultdict
from collections.abc import Iterable

import msgspec

from ragrid.services.memory.changes import Change, Create, Scope, Stored, Version, decide, is_expired
from ragrid.services.memory.errors import KeyReusedError, ReplayGoneError, VersionError
from ragrid.services.memory.postgresql.lexemes import Lexemes
from ragrid.services.memory.protocol.memories import IDEMPOTENCY_US, Written, is_replay_of, written

#: Namespace and id: what a memory is called within its tenant.
Key = tuple[str, str]
#: Subject and idempotency key: what a request is called within its tenant.
RequestKey = tuple[str, str]


class Held(msgspec.Struct, frozen=True):
    """The current version of an id, and how many words of it are indexed."""

    stored: Stored
    words: int


class Request(msgspec.Struct, frozen=True):
    """What an idempotency key led to; `doc` is None when that has expired."""

    fingerprint: bytes
    key: Key
    version: int
    doc: bytes | None
    seq: int
    expires_us: int


class Row(msgspec.Struct, frozen=True):
    """A memory as its table will hold it."""

    namespace: str
    version: Version
    words: int


class Line(msgspec.Struct):
    """One line of the history, not yet written."""

    namespace: str
    version: Version
    doc: bytes | None


class Growth(msgspec.Struct):
    """By how much a namespace's word index has grown."""

    documents: int = 0
    words: int = 0


class Pending:
    """What is decided and not yet written."""

    def __init__(self) -> None:
        self.rows: dict[Key, Row] = {}
        self.lines: list[Line] = []
        self.erased: set[Key] = set()
        self.indexed: dict[int, str] = {}
        self.unindexed: set[int] = set()
        self.requests: dict[RequestKey, Request] = {}
        self.growth: defaultdict[str, Growth] = defaultdict(Growth)
        self.next_expiry_us: int | None = None
        self.live = 0

    def note_expiry(self, expires_us: int | None) -> None:
        """Remember the earliest time at which something has to be swept."""
        if expires_us is not None and (self.next_expiry_us is None or expires_us < self.next_expiry_us):
            self.next_expiry_us = expires_us


class Workspace:
    """One tenant's part of the store, as far as a transaction needs it."""

    def __init__(self, tenant: str, seq: int) -> None:
        self.tenant = tenant
        self.seq = seq
        self.pending = Pending()
        self._held: dict[Key, Held] = {}
        self._requests: dict[RequestKey, Request] = {}
        self._lexemes: dict[str, Lexemes] = {}

    def hold(self, key: Key, held: Held) -> None:
        """Take in what the server has under an id; what it has nothing under is not told."""
        self._held[key] = held

    def know(self, key: RequestKey, request: Request) -> None:
        """Take in what the server knows of an idempotency key."""
        self._requests[key] = request

    def take_pending(self) -> Pending:
        """Return what is to be written, and begin anew."""
        pending, self.pending = self.pending, Pending()
        return pending

    def change(self, change: Change) -> Written:
        """Decide one change; a refusal is raised before anything is noted."""
        if isinstance(change, Create):
            replay = self._replay_of(change)
            if replay is not None:
                return replay
        held = self._held.get((change.scope.namespace, change.id))
        if isinstance(change, Create) and held is not None:
            raise VersionError("the id was used before, wanted one that never was", held.stored.version)
        versions = decide(held.stored if held else None, change, seq=self.seq + 1)
        self.apply(change.scope.namespace, versions)
        if isinstance(change, Create):
            self._remember(change, versions[-1])
        return written(versions)

    def apply(self, namespace: str, versions: Iterable[Version]) -> None:
        """Note steps in the life of one memory."""
        for version in versions:
            self._apply((namespace, version.id), version)

    def _apply(self, key: Key, version: Version) -> None:
        self.seq = version.seq
        before = self._held.get(key)
        if version.op == "expire":
            self._erase(key)
        words = self._index(key, version, before)
        stored = Stored(
            position=version.position,
            version=version.version,
            doc=version.doc,
            created_us=version.created_us,
            created_by=version.created_by,
            expires_us=version.expires_us,
            is_deleted=version.memory is None,
        )
        self._held[key] = Held(stored, words)
        self.pending.rows[key] = Row(key[0], version, words)
        self.pending.lines.append(Line(key[0], version, version.doc or None))
        self.pending.note_expiry(version.expires_us)

    def _index(self, key: Key, version: Version, before: Held | None) -> int:
        """Keep the word index and the counts in step with `version`; return how many words it has."""
        pending, growth = self.pending, self.pending.growth[key[0]]
        if before is not None and not before.stored.is_deleted:
            pending.live -= 1
            growth.documents -= 1
            growth.words -= before.words
            pending.indexed.pop(before.stored.position, None)
            pending.unindexed.add(before.stored.position)
        if version.memory is None:
            return 0
        vector, words = self._lexemes_of(key[0]).indexed(version.memory)
        pending.live += 1
        growth.documents += 1
        growth.words += words
        pending.indexed[version.position] = vector
        pending.unindexed.discard(version.position)
        return words

    def _lexemes_of(self, namespace: str) -> Lexemes:
        found = self._lexemes.get(namespace)
        if found is None:
            found = self._lexemes[namespace] = Lexemes(Scope(self.tenant, namespace))
        return found

    def _erase(self, key: Key) -> None:
        """Forget the contents of a memory whose time is over: in the store, and in what is not yet there."""
        self.pending.erased.add(key)
        for line in self.pending.lines:
            if (line.namespace, line.version.id) == key:
                line.doc = None
        for name, request in self._requests.items():
            if request.key == key:
                self._requests[name] = msgspec.structs.replace(request, doc=None)

    def _replay_of(self, create: Create) -> Written | None:
        if create.idempotency is None:
            return None
        name = create.idempotency.key
        known = self._requests.get((create.actor, name))
        if known is None or known.expires_us <= create.at_us:
            return None
        if not is_replay_of(create, known.fingerprint):
            raise KeyReusedError(f"idempotency key {name!r} came before with another request; choose a new key")
        current = self._held.get(known.key)
        if known.doc is None or (current is not None and is_expired(current.stored, create.at_us)):
            raise ReplayGoneError(f"the memory that idempotency key {name!r} made has expired; choose a new key")
        return Written(known.key[1], known.version, known.doc, is_new=True, is_replay=True)

    def _remember(self, create: Create, version: Version) -> None:
        if create.idempotency is None:
            return
        one, key = create.idempotency, (create.scope.namespace, create.id)
        expires_us = create.at_us + IDEMPOTENCY_US
        request = Request(one.fingerprint, key, version.version, version.doc, version.seq, expires_us)
        self._requests[create.actor, one.key] = self.pending.requests[create.actor, one.key] = request
        self.pending.note_expiry(expires_us)
