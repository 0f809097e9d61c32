"""Counting and choosing by filter mean the same in every store."""

from typing import Any

import pytest

from ragrid.services.memory.changes import Delete, Replace, Scope
from ragrid.services.memory.model import MemoryInput
from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.protocol.store import MemoryStore

ACME = Scope("acme", "default")
NOW = 1_800_000_000_000_000
SECOND = 1_000_000


async def put(store: MemoryStore, memory_id: str, *, scope: Scope = ACME, **members: Any) -> None:
    given = MemoryInput(content="a fact", **members)
    await store.change(Replace(scope, memory_id, "alice", NOW, given))


async def chosen(store: MemoryStore, wanted: Filter, seq: int, *, now_us: int = NOW, limit: int = 99) -> dict[str, int]:
    return dict(await store.chosen(ACME, wanted, now_us=now_us, up_to_seq=seq, limit=limit))


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        (Filter(), {"a", "b", "c"}),
        (Filter(user_id="u"), {"a", "b"}),
        (Filter(tags=("x",)), {"a", "c"}),
        (Filter(tags=("x", "y")), {"c"}),
        (Filter(user_id="u", tags=("x",)), {"a"}),
        (Filter(type="working"), set()),
    ],
)
async def test_what_matches_is_counted_and_chosen(store: MemoryStore, wanted: Filter, ids: set[str]) -> None:
    await put(store, "a", user_id="u", tags=("x",))
    await put(store, "b", user_id="u")
    await put(store, "c", tags=("x", "y"))
    await put(store, "gone", user_id="u", tags=("x",))
    await store.change(Delete(ACME, "gone", "alice", NOW))
    await put(store, "theirs", scope=Scope("evil", "default"), user_id="u", tags=("x", "y"))
    await put(store, "elsewhere", scope=Scope("acme", "other"), user_id="u", tags=("x", "y"))
    counted = await store.count(ACME, wanted, now_us=NOW)
    assert counted.count == len(ids)
    assert set(await chosen(store, wanted, counted.seq)) == ids


async def test_what_was_written_after_the_count_is_not_chosen(store: MemoryStore) -> None:
    for one in "abc":
        await put(store, one)
    counted = await store.count(ACME, Filter(), now_us=NOW)
    await put(store, "b")
    await put(store, "new")
    assert await chosen(store, Filter(), counted.seq) == {"a": 1, "c": 1}


async def test_what_has_expired_is_not_there(store: MemoryStore) -> None:
    await put(store, "a", ttl_seconds=10)
    await put(store, "b")
    counted = await store.count(ACME, Filter(), now_us=NOW + 10 * SECOND)
    assert counted.count == 1
    assert set(await chosen(store, Filter(), counted.seq, now_us=NOW + 10 * SECOND)) == {"b"}


async def test_no_more_than_asked_for_are_chosen(store: MemoryStore) -> None:
    for number in range(5):
        await put(store, f"k{number}")
    counted = await store.count(ACME, Filter(), now_us=NOW)
    assert len(await chosen(store, Filter(), counted.seq, limit=3)) == 3


async def test_nothing_is_in_a_namespace_that_is_not_there(store: MemoryStore) -> None:
    await put(store, "a", scope=Scope("acme", "other"))
    counted = await store.count(ACME, Filter(), now_us=NOW)
    assert counted.count == 0
    assert await chosen(store, Filter(), counted.seq) == {}
