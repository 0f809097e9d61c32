"""What one transaction knows and is going to write. Pure: the server is asked before and told after, once for all.

Because a transaction holds its tenant's lock, nothing that was loaded can change under it. So changes are decided here,
one upon the other, by the same code as in every store, and the server gets their sum: a few statements for a whole
batch instead of a few for each change.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from ragrid.services.memory.changes import Change, Create, Replace, Restore, Scope, Stored, Version, is_visible
from ragrid.services.memory.errors import VersionError
from ragrid.services.memory.ground import Outcome, Remembered, room_after
from ragrid.services.memory.model import fingerprint_of
from ragrid.services.memory.namespaces import Brought, Room
from ragrid.services.memory.postgresql.lexemes import lexemes_of
from ragrid.services.memory.protocol.memories import IDEMPOTENCY_US

#: Namespace and id: what a memory is called within its tenant.
Key = tuple[str, str]
#: Subject and idempotency key: what a request is called within its tenant.
RequestKey = tuple[str, str]


class Need(msgspec.Struct, frozen=True):
    """What has to be loaded: memories, single versions, memories with a fingerprint, namespaces, idempotency keys."""

    keys: tuple[Key, ...] = ()
    documents: tuple[tuple[str, str, int], ...] = ()
    twins: tuple[tuple[str, bytes], ...] = ()
    rooms: tuple[str, ...] = ()
    requests: tuple[RequestKey, ...] = ()
    models: bool = False


class NotLoadedError(Exception):
    """A decision looked at something that is not loaded; it has to be made again once that is."""

    def __init__(self, need: Need) -> None:
        super().__init__("not loaded")
        self.need = need


class Held(msgspec.Struct, frozen=True):
    """The current version of an id, its fingerprint, and how many words of it are indexed."""

    stored: Stored
    words: int
    fingerprint: bytes | None


class Request(msgspec.Struct, frozen=True):
    """What an idempotency key led to, at which `seq`, in which memory, and until when it is remembered."""

    known: Remembered
    key: Key
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
    """By how much a namespace has grown."""

    at_us: int
    rows: int = 0
    size_bytes: int = 0
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
        self.growth: dict[str, Growth] = {}
        #: Of namespaces into which a vector was brought for the first time.
        self.brought: dict[str, Brought] = {}
        self.next_expiry_us: int | None = None

    def note_expiry(self, expires_us: int | None) -> None:
        """Remember the earliest time at which something has to be swept."""
        if expires_us is not None and (self.next_expiry_us is None or expires_us < self.next_expiry_us):
            self.next_expiry_us = expires_us


class Workspace:
    """One tenant's part of the store, as far as a transaction needs it: the Ground of its decisions."""

    def __init__(self, tenant: str, seq: int) -> None:
        self.tenant = tenant
        self.seq = seq
        self.pending = Pending()
        #: Namespaces whose memories have changed.
        self.changed: set[str] = set()
        self._held: dict[Key, Held | None] = {}
        self._documents: dict[tuple[Key, int], bytes | None] = {}
        self._erased_at: dict[Key, int] = {}
        self._alike: defaultdict[tuple[str, bytes], set[str]] = defaultdict(set)
        self._loaded_twins: set[tuple[str, bytes]] = set()
        self._rooms: dict[str, Room] = {}
        self._requests: dict[RequestKey, Request | None] = {}
        self._models: Mapping[str, int | None] | None = None

    # What the server says; what was decided since is newer and stays.

    def hold(self, key: Key, held: Held | None) -> None:
        """Take in what the server has under an id."""
        if self._held.setdefault(key, held) is held and held is not None and held.fingerprint is not None:
            self._alike[key[0], held.fingerprint].add(key[1])

    def know_document(self, key: Key, version: int, doc: bytes | None) -> None:
        """Take in one version of a memory."""
        self._documents.setdefault((key, version), doc)

    def know_twins(self, namespace: str, fingerprint: bytes) -> None:
        """Take in that all memories with a fingerprint are held."""
        self._loaded_twins.add((namespace, fingerprint))

    def know_room(self, namespace: str, room: Room) -> None:
        """Take in the settings and the size of a namespace."""
        self._rooms.setdefault(namespace, room)

    def know_models(self, models: Mapping[str, int | None]) -> None:
        """Take in the models of the grid's embedders that are in use, with their dimensions."""
        self._models = models

    def put_room(self, namespace: str, room: Room) -> None:
        """Take in settings that this transaction has written."""
        self._rooms[namespace] = room

    def know_request(self, key: RequestKey, request: Request | None) -> None:
        """Take in what the server knows of an idempotency key."""
        self._requests.setdefault(key, request)

    # The Ground.

    def stored(self, scope: Scope, memory_id: str) -> Stored | None:
        """See Ground."""
        held = self._of((scope.namespace, memory_id))
        return None if held is None else held.stored

    def document(self, scope: Scope, memory_id: str, version: int) -> bytes | None:
        """See Ground."""
        key = (scope.namespace, memory_id)
        if version <= self._erased_at.get(key, -1):
            return None
        if (key, version) not in self._documents:
            raise NotLoadedError(Need(documents=((*key, version),)))
        return self._documents[key, version]

    def twin(self, scope: Scope, fingerprint: bytes, now_us: int) -> str | None:
        """See Ground."""
        namespace = scope.namespace
        if (namespace, fingerprint) not in self._loaded_twins:
            raise NotLoadedError(Need(twins=((namespace, fingerprint),)))
        seen = [
            (held.stored.position, one)
            for one in self._alike[namespace, fingerprint]
            if (held := self._held[namespace, one]) is not None
            and held.fingerprint == fingerprint
            and is_visible(held.stored, now_us)
            and held.stored.superseded_by is None
        ]
        return max(seen)[1] if seen else None

    def grid_models(self) -> Mapping[str, int | None]:
        """See Ground."""
        if self._models is None:
            raise NotLoadedError(Need(models=True))
        return self._models

    def room(self, scope: Scope) -> Room:
        """See Ground."""
        if scope.namespace not in self._rooms:
            raise NotLoadedError(Need(rooms=(scope.namespace,)))
        return self._rooms[scope.namespace]

    def remembered(self, _scope: Scope, actor: str, key: str, now_us: int) -> Remembered | None:
        """See Ground."""
        if (actor, key) not in self._requests:
            raise NotLoadedError(Need(requests=((actor, key),)))
        request = self._requests[actor, key]
        return None if request is None or request.expires_us <= now_us else request.known

    # What is decided.

    def carry_out(self, change: Change, outcome: Outcome) -> None:
        """Note what one change comes to. Raises VersionError for a new memory under an id that is not new."""
        if isinstance(change, Create) and outcome.written.is_new and not outcome.written.is_replay:
            held = self._of((change.scope.namespace, change.id))
            if held is not None:
                raise VersionError("the id was used before, wanted one that never was", held.stored.version)
        self.apply(change.scope.namespace, outcome.versions)
        if outcome.remembered_seq is not None and isinstance(change, Create) and change.idempotency is not None:
            one, seen = change.idempotency, outcome.written
            known = Remembered(one.fingerprint, seen.id, seen.version, seen.doc, seen.is_new)
            expires_us = change.at_us + IDEMPOTENCY_US
            request = Request(known, (change.scope.namespace, seen.id), outcome.remembered_seq, expires_us)
            self._requests[change.actor, one.key] = self.pending.requests[change.actor, one.key] = request
            self.pending.note_expiry(expires_us)

    def apply(self, namespace: str, versions: Iterable[Version]) -> None:
        """Note steps in the life of one memory, or of several."""
        for version in versions:
            self._apply((namespace, version.id), version)

    def take_pending(self) -> Pending:
        """Return what is to be written, and begin anew."""
        pending, self.pending = self.pending, Pending()
        return pending

    def _of(self, key: Key) -> Held | None:
        if key not in self._held:
            raise NotLoadedError(Need(keys=(key,)))
        return self._held[key]

    def _apply(self, key: Key, version: Version) -> None:
        self.seq = version.seq
        namespace, pending = key[0], self.pending
        self.changed.add(namespace)
        if version.is_erasing:
            self._erase(key, version.version)
        growth = pending.growth.setdefault(namespace, Growth(version.at_us))
        words = self._index(key, version, growth)
        growth.rows += version.rows_delta
        growth.size_bytes += version.size_delta
        if namespace in self._rooms:
            before = self._rooms[namespace]
            after = self._rooms[namespace] = room_after(before, [version])
            if after.brought is not None and before.brought is None:
                pending.brought[namespace] = after.brought
        self._held[key] = Held(version.stored, words, version.fingerprint)
        if version.fingerprint is not None:
            self._alike[namespace, version.fingerprint].add(version.id)
        self._documents[key, version.version] = version.doc or None
        pending.rows[key] = Row(namespace, version, words)
        pending.lines.append(Line(namespace, version, version.doc or None))
        pending.note_expiry(version.expires_us)

    def _index(self, key: Key, version: Version, growth: Growth) -> int:
        """Keep the word index in step with `version`; return how many words it has."""
        pending, before = self.pending, self._held.get(key)
        if before is not None and not before.stored.is_deleted:
            growth.words -= before.words
            pending.indexed.pop(before.stored.position, None)
            pending.unindexed.add(before.stored.position)
        if version.memory is None:
            return 0
        vector, words = lexemes_of(Scope(self.tenant, key[0])).indexed(version.memory)
        growth.words += words
        pending.indexed[version.position] = vector
        pending.unindexed.discard(version.position)
        return words

    def _erase(self, key: Key, version: int) -> None:
        """Forget the contents of a memory: in the store, and in what is not yet there."""
        self.pending.erased.add(key)
        self._erased_at[key] = version
        for line in self.pending.lines:
            if (line.namespace, line.version.id) == key:
                line.doc = None
        for name, request in self._requests.items():
            if request is not None and request.key == key:
                gone = msgspec.structs.replace(request.known, doc=None)
                self._requests[name] = msgspec.structs.replace(request, known=gone)


def need_of(change: Change) -> Need:
    """Return what a decision about `change` will look at in any case; it says itself what else it needs."""
    namespace = change.scope.namespace
    need = Need(keys=((namespace, change.id),), rooms=(namespace,))
    if isinstance(change, Restore) and change.version is not None:
        return msgspec.structs.replace(need, documents=((namespace, change.id, change.version),))
    if not isinstance(change, Create | Replace):
        return need
    keys = (*need.keys, *((namespace, one) for one in change.given.supersedes))
    if isinstance(change, Replace):
        return msgspec.structs.replace(need, keys=keys)
    requests = () if change.idempotency is None else ((change.actor, change.idempotency.key),)
    twins = () if change.on_duplicate in {None, "keep"} else ((namespace, fingerprint_of(change.given)),)
    return msgspec.structs.replace(need, keys=keys, twins=twins, requests=requests)


def joined(needs: Iterable[Need]) -> Need:
    """Return all of several needs, each thing once."""
    every = list(needs)
    return Need(
        keys=tuple({one for need in every for one in need.keys}),
        documents=tuple({one for need in every for one in need.documents}),
        twins=tuple({one for need in every for one in need.twins}),
        rooms=tuple({one for need in every for one in need.rooms}),
        requests=tuple({one for need in every for one in need.requests}),
        models=any(need.models for need in every),
    )
