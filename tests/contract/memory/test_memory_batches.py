"""Batches mean the same in every store."""

import asyncio
from typing import Any

import msgspec
import pytest

from ragrid.errors import RagridError
from ragrid.services.memory.changes import (
    Change,
    Condition,
    Create,
    Delete,
    Idempotency,
    Patch,
    Replace,
    Restore,
    Scope,
)
from ragrid.services.memory.errors import KeyReusedError, NotFoundError, VersionError
from ragrid.services.memory.model import MemoryInput
from ragrid.services.memory.protocol.batch import Results
from ragrid.services.memory.protocol.memories import Filter, Written
from ragrid.services.memory.protocol.store import MemoryStore

ACME = Scope("acme", "default")
NOW = 1_800_000_000_000_000


def put(memory_id: str, content: str = "a fact", condition: Condition | None = None, **members: Any) -> Replace:
    given = MemoryInput(content=content, **members)
    return Replace(ACME, memory_id, "alice", NOW, given, condition or Condition())


def patch(memory_id: str, version: int | None = None, **members: Any) -> Patch:
    condition = Condition() if version is None else Condition(versions=frozenset({version}))
    return Patch(ACME, memory_id, "alice", NOW, members, condition)


def delete(memory_id: str) -> Delete:
    return Delete(ACME, memory_id, "alice", NOW)


async def do(store: MemoryStore, *changes: Change, is_atomic: bool = True) -> Results:
    return await store.change_all(changes, is_atomic=is_atomic)


async def contents(store: MemoryStore) -> dict[str, str]:
    page = await store.page(ACME, Filter(), now_us=NOW, limit=200)
    found = [msgspec.json.decode(doc) for doc in page.docs]
    return {one["id"]: one["content"] for one in found}


@pytest.mark.parametrize("is_atomic", [True, False])
async def test_each_change_sees_those_before_it(store: MemoryStore, *, is_atomic: bool) -> None:
    results = await do(
        store,
        put("a", "one"),
        patch("a", 1, content="two"),
        put("b", "gone"),
        delete("b"),
        put("b", "back", Condition(must_be_absent=True)),
        Restore(ACME, "a", "alice", NOW, 1),
        is_atomic=is_atomic,
    )
    assert [(one.id, one.version) for one in results if isinstance(one, Written)] == [
        ("a", 1),
        ("a", 2),
        ("b", 1),
        ("b", 2),
        ("b", 3),
        ("a", 3),
    ]
    assert await contents(store) == {"a": "one", "b": "back"}
    events = await store.history(ACME, "a", now_us=NOW, limit=10)
    assert events is not None
    assert [one.op for one in events] == ["restore", "update", "create"]


async def test_an_atomic_batch_with_a_refusal_writes_nothing(store: MemoryStore) -> None:
    await do(store, put("a", "one"))
    results = await do(store, put("a", "two"), put("c"), patch("a", 1, content="three"), put("d"))
    assert [type(one) for one in results] == [type(None), type(None), VersionError, type(None)]
    assert isinstance(results[2], VersionError)
    assert results[2].current_version == 2  # as it would have been by then
    assert await contents(store) == {"a": "one"}
    assert (await store.stats()).rows == 1
    history = await store.history(ACME, "a", now_us=NOW, limit=10)
    assert history is not None
    assert len(history) == 1


async def test_in_the_other_kind_each_change_stands_for_itself(store: MemoryStore) -> None:
    results = await do(store, put("a"), patch("nobody", content="x"), put("b"), delete("a"), is_atomic=False)
    assert [type(one) for one in results] == [Written, NotFoundError, Written, Written]
    assert list(await contents(store)) == ["b"]


async def test_keys_of_creates_hold_within_a_batch_and_after_it(store: MemoryStore) -> None:
    def create(memory_id: str, fingerprint: bytes = b"f") -> Create:
        return Create(ACME, memory_id, "alice", NOW, MemoryInput(content="x"), Idempotency("key", fingerprint))

    results = await do(store, create("id-1"), create("id-2"))
    assert [(one.id, one.is_replay) for one in results if isinstance(one, Written)] == [("id-1", False), ("id-1", True)]
    again = await store.change(create("id-3"))
    assert (again.id, again.is_replay) == ("id-1", True)
    refused = await do(store, put("a"), create("id-4", b"other"))
    assert isinstance(refused[1], KeyReusedError)
    assert list(await contents(store)) == ["id-1"]


async def test_batches_at_once_are_whole(store: MemoryStore) -> None:
    """Each moves a counter of ten memories, guarded by their versions: of many, one at a time may win."""
    await do(store, *(put(f"k{n}", "0") for n in range(10)))

    async def move(number: int) -> Results:
        return await do(store, *(patch(f"k{n}", 1, content=str(number)) for n in range(10)))

    results = await asyncio.gather(*(move(number) for number in range(1, 9)))
    won = [one for one in results if not any(isinstance(each, RagridError) for each in one)]
    assert len(won) == 1
    assert len(set((await contents(store)).values())) == 1


async def test_a_batch_is_large(store: MemoryStore) -> None:
    results = await do(store, *(put(f"k{n}", tags=("x",)) for n in range(1000)))
    assert {type(one) for one in results} == {Written}
    assert (await store.stats()).rows == 1000
    await do(store, *(delete(f"k{n}") for n in range(1000)), is_atomic=False)
    assert (await store.stats()).rows == 0
