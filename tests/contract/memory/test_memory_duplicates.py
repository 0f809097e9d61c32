"""What says the same, and what takes whose place, is the same in every store."""

from typing import Any

import msgspec
import pytest

from ragrid.services.memory.changes import Create, Delete, Idempotency, OnDuplicate, Patch, Replace, Restore, Scope
from ragrid.services.memory.errors import InvalidMemoryError
from ragrid.services.memory.model import MemoryInput
from ragrid.services.memory.protocol.memories import Filter, Written
from ragrid.services.memory.protocol.store import MemoryStore

ACME = Scope("acme", "default")
NOW = 1_800_000_000_000_000
SECOND = 1_000_000


async def create(
    store: MemoryStore,
    memory_id: str,
    on_duplicate: OnDuplicate | None = None,
    *,
    content: str = "tea",
    scope: Scope = ACME,
    at_us: int = NOW,
    key: str | None = None,
    **members: Any,
) -> Written:
    given = MemoryInput(content=content, **members)
    idempotency = None if key is None else Idempotency(key, b"f")
    return await store.change(Create(scope, memory_id, "alice", at_us, given, idempotency, on_duplicate=on_duplicate))


async def doc_of(store: MemoryStore, memory_id: str) -> Any:
    read = await store.read(ACME, memory_id, now_us=NOW)
    return None if read is None else msgspec.json.decode(read.doc)


async def ids(store: MemoryStore) -> list[str]:
    page = await store.page(ACME, Filter(), now_us=NOW, limit=200)
    return [msgspec.json.decode(doc)["id"] for doc in page.docs]


async def test_kept_are_both(store: MemoryStore) -> None:
    await create(store, "a")
    assert (await create(store, "b", "keep")).is_new
    assert (await create(store, "c")).is_new
    assert await ids(store) == ["c", "b", "a"]


async def test_returned_is_the_one_that_is_there(store: MemoryStore) -> None:
    first = await create(store, "a")
    again = await create(store, "b", "return")
    assert (again.id, again.version, again.doc, again.is_new) == ("a", 1, first.doc, False)
    assert await ids(store) == ["a"]


@pytest.mark.parametrize(
    "members",
    [{"content": "Tea"}, {"data": {"a": 1}}, {"type": "episodic"}, {"user_id": "u"}, {"agent_id": "g"}],
)
async def test_another_one_is_what_says_something_else(store: MemoryStore, members: Any) -> None:
    await create(store, "a")
    assert (await create(store, "b", "return", **members)).is_new
    assert (await create(store, "c", "return", **members)).id == "b"


async def test_the_order_of_members_and_where_it_was_said_make_no_difference(store: MemoryStore) -> None:
    await create(store, "a", data={"x": 1, "y": {"a": 1, "b": 2}}, session_id="s1", importance=0.1)
    again = await create(store, "b", "return", data={"y": {"b": 2, "a": 1}, "x": 1}, session_id="s2", tags=("t",))
    assert again.id == "a"


async def test_what_has_ended_or_changed_is_no_duplicate(store: MemoryStore) -> None:
    await create(store, "deleted")
    await store.change(Delete(ACME, "deleted", "alice", NOW))
    await create(store, "changed")
    await store.change(Patch(ACME, "changed", "alice", NOW, {"content": "coffee"}))
    await create(store, "brief", ttl_seconds=1)
    assert (await create(store, "new", "return", at_us=NOW + SECOND)).id == "new"
    await store.change(Patch(ACME, "changed", "alice", NOW, {"content": "water"}))
    assert (await create(store, "x", "return", content="water")).id == "changed"


@pytest.mark.parametrize("scope", [Scope("evil", "default"), Scope("acme", "other")])
async def test_duplicates_do_not_reach_across_walls(store: MemoryStore, scope: Scope) -> None:
    await create(store, "a")
    assert (await create(store, "b", "return", scope=scope)).is_new
    assert (await create(store, "c", "supersede", scope=scope)).is_new
    assert (await doc_of(store, "a"))["superseded_by"] is None


async def test_a_key_remembers_what_was_returned(store: MemoryStore) -> None:
    first = await create(store, "a")
    returned = await create(store, "b", "return", key="key")
    await store.change(Patch(ACME, "a", "alice", NOW, {"content": "coffee"}))
    replay = await create(store, "c", "return", key="key")
    assert (returned.id, replay.id, replay.doc, replay.is_new, replay.is_replay) == ("a", "a", first.doc, False, True)


async def test_superseded_is_the_older_one(store: MemoryStore) -> None:
    await create(store, "a")
    written = await create(store, "b", "supersede")
    old, new = await doc_of(store, "a"), await doc_of(store, "b")
    assert (written.id, written.version, written.is_new, written.doc) == ("b", 1, True, msgspec.json.encode(new))
    assert (old["superseded_by"], old["version"], new["supersedes"], new["superseded_by"]) == ("b", 2, ["a"], None)
    events = await store.history(ACME, "a", now_us=NOW, limit=9)
    assert events is not None
    assert [one.op for one in events] == ["supersede", "create"]
    # What was superseded is no duplicate: the newest of those that hold is.
    assert (await create(store, "c", "return")).id == "b"
    await create(store, "d", "supersede")
    assert [(await doc_of(store, one))["superseded_by"] for one in "abd"] == ["b", "d", None]


async def test_a_memory_names_what_it_supersedes(store: MemoryStore) -> None:
    for one in "ab":
        await create(store, one, content=one)
    await create(store, "new", content="both", supersedes=("a", "b"))
    assert [(await doc_of(store, one))["superseded_by"] for one in "ab"] == ["new", "new"]
    await create(store, "c", content="c")
    await store.change(Patch(ACME, "new", "alice", NOW, {"supersedes": ["a", "c"]}))
    marked = [await doc_of(store, one) for one in "abc"]
    assert [(one["superseded_by"], one["version"]) for one in marked] == [("new", 2), ("new", 2), ("new", 2)]
    await store.change(Replace(ACME, "new", "alice", NOW, MemoryInput(content="other", supersedes=("a",))))
    assert (await doc_of(store, "a"))["version"] == 2


async def test_only_what_is_there_can_be_superseded(store: MemoryStore) -> None:
    await create(store, "a")
    await create(store, "theirs", scope=Scope("evil", "default"))
    given = MemoryInput(content="x", supersedes=("a", "nobody", "theirs", "k"))
    with pytest.raises(InvalidMemoryError) as refusal:
        await store.change(Replace(ACME, "k", "alice", NOW, given))
    assert [pointer for pointer, _ in refusal.value.faults] == ["/supersedes/1", "/supersedes/2", "/supersedes/3"]
    assert (await doc_of(store, "a"))["superseded_by"] is None
    assert await ids(store) == ["a"]


async def test_a_mark_stays_across_changes_and_goes_when_restored(store: MemoryStore) -> None:
    await create(store, "a")
    await create(store, "b", "supersede")
    await store.change(Patch(ACME, "a", "alice", NOW, {"importance": 0.9}))
    await store.change(Replace(ACME, "a", "alice", NOW, MemoryInput(content="tea")))
    assert (await doc_of(store, "a"))["superseded_by"] == "b"
    await store.change(Restore(ACME, "a", "alice", NOW, 1))
    assert (await doc_of(store, "a"))["superseded_by"] is None


async def test_no_two_memories_hide_one_another(store: MemoryStore) -> None:
    """Whoever takes the place of others holds itself, so something of a circle can always be found."""
    for memory_id in "abc":
        await create(store, memory_id, content=memory_id)

    async def put(memory_id: str, *supersedes: str) -> None:
        given = MemoryInput(content=f"{memory_id} anew", supersedes=supersedes)
        await store.change(Replace(ACME, memory_id, "alice", NOW, given))

    for memory_id, other in (("a", "b"), ("b", "a"), ("c", "b"), ("a", "c")):
        await put(memory_id, other)
        assert (await doc_of(store, other))["superseded_by"] == memory_id
        assert (await doc_of(store, memory_id))["superseded_by"] is None
    await put("b")
    assert (await doc_of(store, "b"))["superseded_by"] == "c", "what names nothing keeps its mark"
