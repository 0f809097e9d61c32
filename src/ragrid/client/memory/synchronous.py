"""Memories, for programs that wait."""

from collections.abc import Iterator
from typing import Protocol, TypeVar, Unpack
from uuid import uuid4

from ragrid.client.calls import Call
from ragrid.client.memory import calls
from ragrid.client.memory.models import Changes, Criteria, Hits, Members, Memory, MemoryEvent
from ragrid.client.refusals import NotModifiedError

T = TypeVar("T")

PAGE = 200


class Send(Protocol):
    """Sends one call and returns its answer."""

    def __call__(self, call: Call[T]) -> T:
        """Send it."""
        ...


class Memories:
    """The caller's memories in one namespace.

    Every method raises NotFoundError for what is not there (or is another tenant's), VersionConflictError for a
    precondition that failed, RefusedError with `errors` for what is not valid, AuthError and UnreachableError.
    """

    def __init__(self, send: Send, namespace: str = "default") -> None:
        self._send = send
        self.namespace = namespace

    def within(self, namespace: str) -> "Memories":
        """Return the memories of another namespace."""
        return Memories(self._send, namespace)

    def create(self, content: str = "", *, key: str | None = None, **members: Unpack[Members]) -> Memory:
        """Make a memory under an id of the service.

        It is made once, also when the answer was lost and the call repeated; give a `key` of your own to hold that
        across a restart of your program (24 hours).
        """
        return self._send(calls.create(self.namespace, {"content": content, **members}, key or str(uuid4())))

    def get(self, memory_id: str) -> Memory:
        """Return a memory as it is now."""
        return self._send(calls.get(self.namespace, memory_id))

    def refresh(self, memory: Memory) -> Memory:
        """Return `memory` as it is now: the very same object, at the price of a few bytes, when it has not changed."""
        try:
            return self._send(calls.get(memory.namespace, memory.id, unless_version=memory.version))
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
        return self._send(calls.put(self.namespace, memory_id, whole, if_version=if_version, if_absent=if_absent))

    def update(self, memory_id: str, *, if_version: int | None = None, **changes: Unpack[Changes]) -> Memory:
        """Merge `changes` into a memory, leaving the rest as it is."""
        return self._send(calls.update(self.namespace, memory_id, changes, if_version=if_version))

    def delete(self, memory_id: str, *, if_version: int | None = None) -> None:
        """Remove a memory; its history stays."""
        self._send(calls.delete(self.namespace, memory_id, if_version=if_version))

    def list(self, **criteria: Unpack[Criteria]) -> Iterator[Memory]:
        """Yield every memory that matches, newest first, fetched page by page.

        One that exists all the while comes exactly once, whatever is written meanwhile.
        """
        cursor: str | None = None
        while True:
            call = calls.page(self.namespace, criteria, limit=PAGE, cursor=cursor)
            page = self._send(call)
            yield from page.memories
            cursor = calls.advanced(call.name, page.next_cursor, cursor)
            if cursor is None:
                return

    def search(self, query: str, *, k: int = 10, mode: str | None = None, **criteria: Unpack[Criteria]) -> Hits:
        """Return the `k` memories that fit `query` best; criteria are applied before ranking and never relaxed."""
        return self._send(calls.search(self.namespace, query, criteria, k=k, mode=mode))

    def history(self, memory_id: str) -> Iterator[MemoryEvent]:
        """Yield every version of a memory, newest first."""
        cursor: str | None = None
        while True:
            call = calls.history(self.namespace, memory_id, limit=PAGE, cursor=cursor)
            page = self._send(call)
            yield from page.events
            cursor = calls.advanced(call.name, page.next_cursor, cursor)
            if cursor is None:
                return
