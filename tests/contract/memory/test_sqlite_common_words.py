"""Common words are left out of a search where rarer ones find enough, and nowhere else."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from ragrid.services.memory.changes import Replace, Scope
from ragrid.services.memory.model import MemoryInput
from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.sqlite.common_words import CommonWords
from ragrid.services.memory.sqlite.store import SqliteStore

ACME = Scope("acme", "default")
NOW = 1_800_000_000_000_000


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """30 memories with `the`, of which 6 with `tea` and one with `oolong`; words in more than 10 are common."""
    one = SqliteStore.open(tmp_path)
    one.common_words = CommonWords(budget=10)
    for number in range(30):
        content = "the " + ("tea" if number % 5 == 0 else "rest") + (" oolong" if number == 10 else "")
        given = MemoryInput(content=content, user_id="ada" if number in {1, 2} else "eve")
        await one.change(Replace(ACME, f"k{number}", "alice", NOW, given))
    yield one
    await one.close()


async def found(store: SqliteStore, *words: str, limit: int = 5, wanted: Filter | None = None) -> list[str]:
    hits = await store.search(ACME, words, wanted or Filter(), now_us=NOW, limit=limit)
    return [msgspec.json.decode(hit.doc)["id"] for hit in hits]


async def test_the_rarer_words_decide_where_they_find_enough(store: SqliteStore) -> None:
    assert await found(store, "the", "tea") == ["k25", "k20", "k15", "k5", "k0"]
    assert (await found(store, "oolong", "the", "tea"))[0] == "k10"


async def test_the_common_words_fill_up_where_they_do_not(store: SqliteStore) -> None:
    every = await found(store, "the", "tea", limit=30)
    assert len(every) == 30
    assert set(every[:6]) == {f"k{number}" for number in range(0, 30, 5)}
    assert len(await found(store, "the")) == 5


async def test_a_filter_is_kept_and_still_finds_by_common_words(store: SqliteStore) -> None:
    assert set(await found(store, "the", "tea", wanted=Filter(user_id="ada"))) == {"k1", "k2"}
    assert await found(store, "the", "tea", wanted=Filter(user_id="nobody")) == []


async def test_other_namespaces_do_not_make_a_word_common(store: SqliteStore) -> None:
    other = Scope("acme", "other")
    for number in range(11):
        await store.change(Replace(other, f"k{number}", "alice", NOW, MemoryInput(content=f"word{number} oolong")))
    assert (await found(store, "oolong", "the"))[0] == "k10"


@pytest.mark.parametrize("others", [0, 3, 9])
async def test_rare_words_of_other_namespaces_are_neither_found_nor_in_the_way(store: SqliteStore, others: int) -> None:
    """With none and three, most of what holds the words is here; with nine it is not. What is found is the same."""
    for number in range(others):
        given = MemoryInput(content="oolong oolong oolong")
        await store.change(Replace(Scope("else", "default"), f"x{number}", "eve", NOW, given))
    assert await found(store, "oolong", "the", limit=1) == ["k10"]
    assert await found(store, "oolong", "tea", limit=5) == ["k10", "k25", "k20", "k15", "k5"]
    assert await found(store, "oolong", "tea", limit=5, wanted=Filter(user_id="nobody")) == []
    assert await found(store, "oolong", "tea", limit=1, wanted=Filter(user_id="eve")) == ["k10"]
