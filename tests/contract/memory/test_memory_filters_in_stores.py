"""The filter language means the same in every store, in lists and in searches."""

from typing import Any

import msgspec
import pytest

from ragrid.services.memory.changes import Delete, Replace, Scope
from ragrid.services.memory.filters.parse import FilterNode, parse_condition
from ragrid.services.memory.model import MemoryInput
from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.protocol.store import MemoryStore
from ragrid.services.memory.words import words_of

ACME = Scope("acme", "default")
NOW = 1_800_000_000_000_000  # 2027-01-15T08:00:00Z
SECOND = 1_000_000

MEMORIES: dict[str, dict[str, Any]] = {
    "plain": {},
    "rich": {
        "user_id": "ada",
        "tags": ["x", "y"],
        "importance": 0.9,
        "type": "episodic",
        "metadata": {"plan": "pro", "seats": 5, "beta": True, "a.b": "dotted"},
        "data": {"items": ["one", 2], "deep": {"er": "text"}},
        "source": {"kind": "message", "ref": "m-1"},
        "valid_from": "2027-01-15T10:00:00.5+02:00",
    },
    "poor": {
        "user_id": "adam",
        "tags": ["y"],
        "metadata": {"plan": "free", "seats": 5.0, "null": None},
        "pinned": True,
    },
}


def leaf(field: str, op: str, value: Any) -> dict[str, Any]:
    return {"field": field, "op": op, "value": value}


def wanted(node: Any, **members: Any) -> Filter:
    return Filter(where=parse_condition(msgspec.convert(node, FilterNode), ""), **members)


async def fill(store: MemoryStore) -> None:
    for second, (memory_id, members) in enumerate(MEMORIES.items()):
        given = msgspec.convert({"content": f"tea of {memory_id}", **members}, MemoryInput)
        await store.change(Replace(ACME, memory_id, f"by-{memory_id}", NOW + second * SECOND, given))


async def listed(store: MemoryStore, filtered: Filter, scope: Scope = ACME) -> set[str]:
    page = await store.page(scope, filtered, now_us=NOW + 10 * SECOND, limit=100)
    return {msgspec.json.decode(doc)["id"] for doc in page.docs}


async def searched(store: MemoryStore, filtered: Filter) -> set[str]:
    hits = await store.search(ACME, words_of("tea"), filtered, now_us=NOW + 10 * SECOND, limit=100)
    return {msgspec.json.decode(hit.doc)["id"] for hit in hits}


@pytest.mark.parametrize(
    ("node", "ids"),
    [
        (leaf("id", "eq", "rich"), {"rich"}),
        (leaf("id", "in", ["rich", "poor", "nobody"]), {"rich", "poor"}),
        (leaf("type", "ne", "episodic"), {"plain", "poor"}),
        (leaf("user_id", "prefix", "ada"), {"rich", "poor"}),
        (leaf("user_id", "exists", False), {"plain"}),
        (leaf("user_id", "ne", "ada"), {"plain", "poor"}),
        (leaf("agent_id", "exists", True), set()),
        (leaf("session_id", "lt", "z"), set()),
        (leaf("created_by", "eq", "by-poor"), {"poor"}),
        (leaf("updated_by", "contains", "or"), {"poor"}),
        (leaf("created_at", "gt", "2027-01-15T08:00:00Z"), {"rich", "poor"}),
        (leaf("created_at", "lte", "2027-01-15T09:00:01+01:00"), {"plain", "rich"}),
        (leaf("updated_at", "eq", "2027-01-15T08:00:02Z"), {"poor"}),
        (leaf("valid_from", "eq", "2027-01-15T08:00:00.5Z"), {"rich"}),
        (leaf("valid_from", "gte", "2027-01-15T08:00:00.500001Z"), set()),
        (leaf("expires_at", "exists", False), {"plain", "rich", "poor"}),
        (leaf("version", "eq", 1), {"plain", "rich", "poor"}),
        (leaf("seq", "gte", 2), {"rich", "poor"}),
        (leaf("importance", "gt", 0.5), {"rich"}),
        (leaf("pinned", "eq", True), {"poor"}),
        (leaf("content", "contains", "of p"), {"plain", "poor"}),
        (leaf("tags", "contains", "y"), {"rich", "poor"}),
        (leaf("source.kind", "eq", "message"), {"rich"}),
        (leaf("metadata.plan", "in", ["pro", "free"]), {"rich", "poor"}),
        (leaf("metadata.seats", "eq", 5), {"rich", "poor"}),
        (leaf("metadata.beta", "eq", True), {"rich"}),
        (leaf("metadata.a.b", "eq", "dotted"), {"rich"}),
        (leaf("metadata.null", "exists", True), set()),
        (leaf("data.items", "contains", 2), {"rich"}),
        (leaf("data.items", "contains", "on"), set()),
        (leaf("data.deep.er", "contains", "ex"), {"rich"}),
        ({"and": [leaf("tags", "contains", "y"), leaf("metadata.plan", "eq", "pro")]}, {"rich"}),
        ({"or": [leaf("id", "eq", "plain"), leaf("metadata.plan", "eq", "pro")]}, {"plain", "rich"}),
        (
            {"or": [{"and": [leaf("user_id", "eq", "ada"), leaf("pinned", "eq", True)]}, leaf("id", "eq", "poor")]},
            {"poor"},
        ),
    ],
)
async def test_lists_and_searches_keep_to_the_filter(store: MemoryStore, node: Any, ids: set[str]) -> None:
    await fill(store)
    assert await listed(store, wanted(node)) == ids
    assert await searched(store, wanted(node)) == ids


async def test_plain_members_and_comparisons_must_all_hold(store: MemoryStore) -> None:
    await fill(store)
    node = leaf("metadata.seats", "eq", 5)
    assert await listed(store, wanted(node, tags=("x",))) == {"rich"}
    assert await listed(store, wanted(node, tags=("x", "y"), user_id="adam")) == set()
    assert await searched(store, wanted(node, type="episodic", tags=("y",))) == {"rich"}


async def test_no_filter_opens_a_wall(store: MemoryStore) -> None:
    await fill(store)
    anything = wanted({"or": [leaf("content", "contains", ""), leaf("tags", "contains", "y")]})
    assert await listed(store, anything) == set(MEMORIES)
    for scope in (Scope("evil", "default"), Scope("acme", "other")):
        assert await listed(store, anything, scope) == set()
    await store.change(Delete(ACME, "rich", "alice", NOW))
    assert await listed(store, anything) == {"plain", "poor"}


async def test_a_walk_with_comparisons_sees_each_once(store: MemoryStore) -> None:
    for number in range(7):
        given = MemoryInput(content="tea", metadata={"even": number % 2 == 0})
        await store.change(Replace(ACME, f"k{number}", "alice", NOW, given))
    seen: list[str] = []
    before: int | None = None
    while True:
        page = await store.page(ACME, wanted(leaf("metadata.even", "eq", True)), now_us=NOW, limit=3, before=before)
        seen += [msgspec.json.decode(doc)["id"] for doc in page.docs]
        before = page.next_position
        if before is None:
            break
    assert seen == ["k6", "k4", "k2", "k0"]


async def test_a_name_with_a_nul_in_it_is_another_name(store: MemoryStore) -> None:
    for memory_id, name in (("plain", "plan"), ("odd", "plan\0"), ("odder", "plan\0x")):
        given = MemoryInput(content="tea", metadata={name: "pro"}, data={name: {"deep": "\\u0000"}})
        await store.change(Replace(ACME, memory_id, "alice", NOW, given))
    for node in (leaf("metadata.plan", "eq", "pro"), leaf("data.plan.deep", "eq", "\\u0000")):
        assert await listed(store, wanted(node)) == {"plain"}
        assert await searched(store, wanted(node)) == {"plain"}
