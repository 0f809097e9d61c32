"""Searches of what there was: the same in every store."""

from typing import Any

import msgspec
import pytest

from ragrid.services.memory.changes import Delete, Purge, Replace, Scope
from ragrid.services.memory.errors import InvalidBodyError
from ragrid.services.memory.filters.model import Term
from ragrid.services.memory.model import MemoryInput
from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.protocol.store import MemoryStore
from ragrid.services.memory.ranking.fusion import Ranking
from ragrid.services.memory.recall import Found, Question, Recall

ACME = Scope("acme", "default")
NOW = 1_800_000_000_000_000
DAY = 86_400_000_000


async def put(store: MemoryStore, memory_id: str, content: str, at_us: int, **members: Any) -> None:
    await store.change(Replace(ACME, memory_id, "alice", at_us, MemoryInput(content=content, **members)))


async def find(store: MemoryStore, as_of_us: int, wanted: Filter | None = None, **members: Any) -> Found:
    ranking = Ranking(as_of_us=as_of_us, include_superseded=members.pop("include_superseded", False))
    question = Question(text="tea please", wanted=wanted or Filter(), ranking=ranking, **members)
    return await Recall(store).find(ACME, question, now_us=NOW + 9 * DAY)


async def ids(store: MemoryStore, as_of_us: int, wanted: Filter | None = None, **members: Any) -> list[str]:
    found = await find(store, as_of_us, wanted, **members)
    return [msgspec.json.decode(hit.doc)["id"] for hit in found.hits]


async def test_a_search_of_the_past_finds_what_was_said_then(store: MemoryStore) -> None:
    await put(store, "k", "tea", NOW)
    await put(store, "k", "coffee", NOW + 2 * DAY)
    await put(store, "late", "tea", NOW + 2 * DAY)
    await put(store, "gone", "tea for two", NOW, tags=("x",), metadata={"plan": "pro"})
    await store.change(Delete(ACME, "gone", "alice", NOW + 2 * DAY))
    assert await ids(store, NOW - 1) == []
    assert await ids(store, NOW + DAY) == ["k", "gone"]  # the shorter one says more of it
    assert await ids(store, NOW + 3 * DAY) == ["late"]
    assert await ids(store, NOW + DAY, Filter(tags=("x",))) == ["gone"]
    assert await ids(store, NOW + DAY, Filter(where=Term(("metadata", "plan"), "any", "eq", "pro"))) == ["gone"]
    assert await ids(store, NOW + DAY, Filter(user_id="nobody")) == []
    found = await find(store, NOW + DAY, mode="lexical")
    assert (found.mode_used, found.degraded, found.hits[0].score) == ("lexical", (), 1.0)
    assert msgspec.json.decode(found.hits[0].doc)["content"] == "tea"


async def test_what_was_erased_or_over_then_is_not_found(store: MemoryStore) -> None:
    await put(store, "purged", "tea", NOW)
    await store.change(Purge(ACME, "purged", "alice", NOW + DAY))
    await put(store, "short", "tea", NOW, ttl_seconds=60)
    await put(store, "short", "tea", NOW + 1, pinned=True)
    await put(store, "over", "tea", NOW, ttl_seconds=60)
    assert await ids(store, NOW + 2) == ["short"]
    assert await ids(store, NOW + DAY // 2) == ["short"]


async def test_what_had_been_superseded_then_is_left_out(store: MemoryStore) -> None:
    await put(store, "old", "tea", NOW)
    await put(store, "new", "tea", NOW + DAY, supersedes=("old",))
    assert await ids(store, NOW) == ["old"]
    assert await ids(store, NOW + DAY) == ["new"]
    assert set(await ids(store, NOW + DAY, include_superseded=True)) == {"old", "new"}


@pytest.mark.parametrize("scope", [Scope("evil", "default"), Scope("acme", "other")])
async def test_no_past_is_seen_across_the_walls(store: MemoryStore, scope: Scope) -> None:
    await put(store, "k", "tea", NOW)
    assert await store.past_documents(scope, as_of_us=NOW, now_us=NOW, limit=10) == ()
    assert len(await store.past_documents(ACME, as_of_us=NOW, now_us=NOW, limit=10)) == 1


async def test_too_much_of_it_is_refused(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragrid.services.memory.recall.PAST_LIMIT", 1)
    for number in range(2):
        await put(store, f"k{number}", "tea", NOW)
    with pytest.raises(InvalidBodyError, match="/as_of: the namespace held more memories then than the 1"):
        await ids(store, NOW)
