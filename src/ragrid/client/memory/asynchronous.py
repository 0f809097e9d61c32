"""Memories, for programs with an event loop; the same promises as `Memories`."""

from collections.abc import AsyncIterator
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

    async def __call__(self, call: Call[T]) -> T:
        """Send it."""
        ...


class AsyncMemories:
    """The caller's memories in one namespace; see `Memories`."""

    def __init__(self, send: Send, namespace: str = "default") -> None:
        self._send = send
        self.namespace = namespace

    def within(self, namespace: str) -> "AsyncMemories":
        """Return the memories of another namespace."""
        return AsyncMemories(self._send, namespace)

    async def create(self, content: str = "", *, key: str | None = None, **members: Unpack[Members]) -> Memory:
        """Make a memory under an id of the service.

        It is made once, also when the answer was lost and the call repeated; give a `key` of your own to hold that
        across a restart of your program (24 hours).
        """
        return await self._send(calls.create(self.namespace, {"content": content, **members}, key or str(uuid4())))

    async def get(self, memory_id: str) -> Memory:
        """Return a memory as it is now."""
        return await self._send(calls.get(self.namespace, memory_id))

    async def refresh(self, memory: Memory) -> Memory:
        """Return `memory` as it is now: the very same object, at the price of a few bytes, when it has not changed."""
        try:
            return await self._send(calls.get(memory.namespace, memory.id, unless_version=memory.version))
        except NotModifiedError:
            return memory

    async def put(
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
        return await self._send(calls.put(self.namespace, memory_id, whole, if_version=if_version, if_absent=if_absent))

    async def update(self, memory_id: str, *, if_version: int | None = None, **changes: Unpack[Changes]) -> Memory:
        """Merge `changes` into a memory, leaving the rest as it is."""
        return await self._send(calls.update(self.namespace, memory_id, changes, if_version=if_version))

    async def delete(self, memory_id: str, *, if_version: int | None = None) -> None:
        """Remove a memory; its history stays."""
        await self._send(calls.delete(self.namespace, memory_id, if_version=if_version))

    async def list(self, **criteria: Unpack[Criteria]) -> AsyncIterator[Memory]:
        """Yield every memory that matches, newest first, fetched page by page.

        One that exists all the while comes exactly once, whatever is written meanwhile.
        """
        cursor: str | None = None
        while True:
            call = calls.page(self.namespace, criteria, limit=PAGE, cursor=cursor)
            page = await self._send(call)
            for memory in page.memories:
                yield memory
            cursor = calls.advanced(call.name, page.next_cursor, cursor)
            if cursor is None:
                return

    async def search(self, query: str, *, k: int = 10, mode: str | None = None, **criteria: Unpack[Criteria]) -> Hits:
        """Return the `k` memories that fit `query` best; criteria are applied before ranking and never relaxed."""
        return await self._send(calls.search(self.namespace, query, criteria, k=k, mode=mode))

    async def history(self, memory_id: str) -> AsyncIterator[MemoryEvent]:
        """Yield every version of a memory, newest first."""
        cursor: str | None = None
        while True:
            call = calls.history(self.namespace, memory_id, limit=PAGE, cursor=cursor)
            page = await self._send(call)
            for event in page.events:
                yield event
            cursor = calls.advanced(call.name, page.next_cursor, cursor)
            if cursor is None:
                return
