"""Memories, for programs that wait."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Protocol, TypeVar, Unpack
from uuid import uuid4

from ragrid.client.calls import Call
from ragrid.client.memory import calls, exchange, keeping, sessions
from ragrid.client.memory.exchange import Imported, MemoryChange
from ragrid.client.memory.keeping import Job, Namespace, NamespaceSettings, OnDuplicate, Stats
from ragrid.client.memory.models import (
    BatchResult,
    Changes,
    Counted,
    Criteria,
    Hits,
    Members,
    Memory,
    MemoryEvent,
    SearchOptions,
)
from ragrid.client.memory.sessions import Message, NewMessage, Pack, PackOptions, SessionSummary, State
from ragrid.client.pages import follow
from ragrid.client.refusals import NotModifiedError

T = TypeVar("T")


class Wire(Protocol):
    """Sends calls: a `GridClient`."""

    def send(self, call: Call[T]) -> T:
        """Send one call and return its answer."""
        ...

    def lines(self, call: Call[Any]) -> Iterator[bytes]:
        """Send one call and yield the lines of its answer as they come."""
        ...


class Memories:
    """The caller's memories in one namespace.

    Every method raises NotFoundError for what is not there (or is another tenant's), VersionConflictError for a
    precondition that failed, RefusedError with `errors` for what is not valid, AuthError and UnreachableError.
    """

    def __init__(self, wire: Wire, namespace: str = "default") -> None:
        self._wire = wire
        self.namespace = namespace

    def within(self, namespace: str) -> "Memories":
        """Return the memories of another namespace."""
        return Memories(self._wire, namespace)

    @property
    def namespaces(self) -> "Namespaces":
        """The tenant's namespaces."""
        return Namespaces(self._wire)

    def session(self, session_id: str) -> "Session":
        """Return one conversation; it is there from its first message or state on."""
        return Session(self._wire, self.namespace, session_id)

    def sessions(self) -> Iterator[SessionSummary]:
        """Yield what there is of every session of the namespace, by id."""
        return follow(self._wire.send, partial(sessions.summaries, self.namespace))

    def create(
        self,
        content: str = "",
        *,
        key: str | None = None,
        on_duplicate: OnDuplicate | None = None,
        **members: Unpack[Members],
    ) -> Memory:
        """Make a memory under an id of the service.

        It is made once, also when the answer was lost and the call repeated; give a `key` of your own to hold that
        across a restart of your program (24 hours). `on_duplicate` says what to do when a memory says the same.
        """
        whole = {"content": content, **members}
        return self._wire.send(calls.create(self.namespace, whole, key or str(uuid4()), on_duplicate))

    def get(self, memory_id: str, *, version: int | None = None, as_of: datetime | None = None) -> Memory:
        """Return a memory as it is now, or one version of it, or what a reader saw at a time."""
        return self._wire.send(calls.get(self.namespace, memory_id, version=version, as_of=as_of))

    def refresh(self, memory: Memory) -> Memory:
        """Return `memory` as it is now: the very same object, at the price of a few bytes, when it has not changed."""
        try:
            return self._wire.send(calls.get(memory.namespace, memory.id, unless_version=memory.version))
        except NotModifiedError:
            return memory

    def put(
        self,
        memory_id: str,
        content: str = "",
        *,
        if_version: int | None = None,
        if_absent: bool = False,
        **members: Unpack[Members],
    ) -> Memory:
        """Make or replace the memory at an id of yours; with a condition, only while that holds."""
        whole = {"content": content, **members}
        return self._wire.send(calls.put(self.namespace, memory_id, whole, if_version=if_version, if_absent=if_absent))

    def update(self, memory_id: str, *, if_version: int | None = None, **changes: Unpack[Changes]) -> Memory:
        """Merge `changes` into a memory, leaving the rest as it is."""
        return self._wire.send(calls.update(self.namespace, memory_id, changes, if_version=if_version))

    def delete(self, memory_id: str, *, if_version: int | None = None, purge: bool = False) -> None:
        """Remove a memory; its history stays, unless it is purged (which an administrator may)."""
        self._wire.send(calls.delete(self.namespace, memory_id, if_version=if_version, purge=purge))

    def restore(self, memory_id: str, version: int | None = None, *, if_version: int | None = None) -> Memory:
        """Make an earlier version the current one again, also after a delete; without one, undo the last change."""
        return self._wire.send(calls.restore(self.namespace, memory_id, version=version, if_version=if_version))

    def list(self, **criteria: Unpack[Criteria]) -> Iterator[Memory]:
        """Yield every memory that matches, newest first, fetched page by page.

        One that exists all the while comes exactly once, whatever is written meanwhile.
        """
        return follow(self._wire.send, partial(calls.page, self.namespace, criteria))

    def search(self, query: str, *, k: int = 10, **options: Unpack[SearchOptions]) -> Hits:
        """Return the `k` memories that fit `query` best; criteria are applied before ranking and never relaxed."""
        return self._wire.send(calls.search(self.namespace, query, k=k, options=options))

    def history(self, memory_id: str) -> Iterator[MemoryEvent]:
        """Yield every version of a memory, newest first."""
        return follow(self._wire.send, partial(calls.history, self.namespace, memory_id))

    def batch(self, operations: Sequence[Mapping[str, Any]], *, atomic: bool = False) -> tuple[BatchResult, ...]:
        """Carry out up to 1,000 changes in one commit; `atomic`: all of them, or none and a refusal.

        An operation is `{"op": "create", "memory": {…}}`, or `put`, `patch`, `delete` or `restore` with an `id`.
        """
        return self._wire.send(calls.batch(self.namespace, operations, atomic=atomic)).results

    def count_to_forget(self, *, purge: bool = False, **criteria: Unpack[Criteria]) -> Counted:
        """Count the memories that match; `forget` takes the result."""
        found = self._wire.send(calls.count_to_forget(self.namespace, criteria, purge=purge))
        return calls.counted(found, criteria, purge=purge)

    def forget(self, counted: Counted) -> int:
        """Delete what was counted, and return how many memories that were."""
        forgotten = 0
        while True:
            answer = self._wire.send(calls.forget(self.namespace, counted))
            forgotten += answer.forgotten or 0
            if answer.is_complete or not answer.forgotten:
                return forgotten

    def context(
        self,
        budget_tokens: int,
        query: str = "",
        *,
        session_id: str | None = None,
        criteria: Criteria | None = None,
        **options: Unpack[PackOptions],
    ) -> Pack:
        """Return what an agent should know now, within a budget of tokens."""
        return self._wire.send(
            sessions.pack(self.namespace, budget_tokens, query, criteria or {}, session_id=session_id, options=options)
        )

    def changes(self, since: int = 0, *, follow: bool = False) -> Iterator[MemoryChange]:
        """Yield every change after `since`, oldest first; with `follow`, wait for the next ones for ever.

        The `seq` of the last one is the `since` to go on with, in another program too.
        """
        while True:
            page = self._wire.send(exchange.changes(self.namespace, since, wait=follow))
            yield from page.changes
            if not page.has_more and not follow:
                return
            since = page.next_since

    def export(self, *, everything: bool = False) -> Iterator[bytes]:
        """Yield the lines of an export of this namespace, or of `everything` that the tenant has.

        Raises RagridError when it is cut off before its last line.
        """
        call = exchange.export(self.namespace, everything=everything)
        whole = exchange.Whole(call.name)
        for line in self._wire.lines(call):
            yield whole.saw(line)
        whole.check()

    def take(self, lines: Iterable[bytes], *, everything: bool = False) -> Imported:
        """Take over the lines of an export into this namespace, or, with `everything`, each where it says.

        What is there already, by id and version, stays as it is, so it may be done again. An administrator may.
        """
        tally = exchange.Tally()
        for before, piece in exchange.pieces(lines):
            done = self._wire.send(exchange.take(piece, None if everything else self.namespace, atomic=False))
            tally.add(before, piece, done)
        return tally.total()

    def stats(self) -> Stats:
        """Return what the tenant has in all."""
        return self._wire.send(keeping.stats())

    def reembed(self) -> Job:
        """Follow a change of embedding models, beside the vectors in use; an administrator may."""
        return self._wire.send(keeping.reembed())

    def backup(self) -> Job:
        """Start a copy of the whole store on the machine that serves it, or follow the one that is being made; an
        administrator may. The job's result says its name, `bytes` and the last change in it, `seq`.
        """
        return self._wire.send(keeping.backup())

    def job(self, job_id: str) -> Job:
        """Return how far a job is."""
        return self._wire.send(keeping.job(job_id))


class Session:
    """One conversation: messages that never change, and a working state."""

    def __init__(self, wire: Wire, namespace: str, session_id: str) -> None:
        self._wire = wire
        self.namespace = namespace
        self.session_id = session_id

    def append(
        self,
        *messages: NewMessage,
        key: str | None = None,
        after: int | None = None,
        ttl_seconds: int | None = None,
    ) -> tuple[Message, ...]:
        """Add messages to the end, all or none, and once, also when the answer was lost and the call repeated.

        `after` is the index of the last message that the caller knows: nothing is added when there are later ones.
        """
        call = sessions.append(
            self.namespace, self.session_id, messages, key or str(uuid4()), after=after, ttl_seconds=ttl_seconds
        )
        return self._wire.send(call).messages

    def messages(self, *, newest_first: bool = False) -> Iterator[Message]:
        """Yield the messages, fetched page by page."""
        ask = partial(sessions.page, self.namespace, self.session_id, newest_first=newest_first)
        return follow(self._wire.send, ask)

    def state(self) -> State:
        """Return the working state."""
        return self._wire.send(sessions.state(self.namespace, self.session_id))

    def put_state(
        self, data: Mapping[str, Any], *, ttl_seconds: int | None = None, if_version: int | None = None
    ) -> State:
        """Replace the working state whole."""
        call = sessions.put_state(self.namespace, self.session_id, data, ttl_seconds=ttl_seconds, if_version=if_version)
        return self._wire.send(call)

    def delete(self) -> None:
        """Erase messages and state; memories of the session stay."""
        self._wire.send(sessions.delete(self.namespace, self.session_id))


class Namespaces:
    """The tenant's namespaces, for whoever administers memories."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def list(self) -> Iterator[Namespace]:
        """Yield every namespace, newest first."""
        return follow(self._wire.send, keeping.page)

    def get(self, name: str) -> Namespace:
        """Return one namespace."""
        return self._wire.send(keeping.get(name))

    def put(self, name: str, *, if_version: int | None = None, **settings: Unpack[NamespaceSettings]) -> Namespace:
        """Make a namespace, or replace its settings whole."""
        return self._wire.send(keeping.put(name, settings, if_version=if_version))

    def delete(self, name: str, *, if_version: int | None = None) -> None:
        """Erase a namespace with all that is in it."""
        self._wire.send(keeping.delete(name, if_version=if_version))
