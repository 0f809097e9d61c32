"""In a large store only those memories are scored that may be among the best; what is found is as if all were."""

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from ragrid.services.memory.changes import Replace, Scope
from ragrid.services.memory.model import MemoryInput
from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.ranking.fusion import PLAIN, Ranked
from ragrid.services.memory.sqlite.asked import Asked
from ragrid.services.memory.sqlite.by_words import Limits, WordSearch
from ragrid.services.memory.sqlite.store import SqliteStore

ACME = Scope("acme", "default")
NOW = 1_800_000_000_000_000
#: One second after NOW.
SOON = datetime(2027, 1, 15, 8, 0, 1, tzinfo=UTC)
#: Never all that hold a word are scored, however small the store.
SHORT_CUT = Limits(small=0, exact=0, to_score=60)
EVERY = Limits(small=10**9, exact=10**9)
WORDS = [f"word{rank}" for rank in range(400)]
#: How often a word comes falls with its rank, as in any language (Zipf).
OFTEN = [1 / (rank + 1) for rank in range(len(WORDS))]


def texts(count: int, *, words: int, seed: int) -> list[str]:
    chosen = random.Random(seed)
    return [" ".join(chosen.choices(WORDS, OFTEN, k=words)) for _ in range(count)]


async def put(store: SqliteStore, scope: Scope, contents: Sequence[str]) -> None:
    for number, content in enumerate(contents):
        await store.change(Replace(scope, f"k{number}", "alice", NOW, MemoryInput(content=content)))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with 1,500 memories of one namespace, and 200 of another tenant's with the same words."""
    folder = tmp_path_factory.mktemp("filled")

    async def fill() -> None:
        store = SqliteStore.open(folder)
        await put(store, Scope("else", "default"), texts(200, words=20, seed=2))
        await put(store, ACME, texts(1500, words=20, seed=1))
        await store.close()

    asyncio.run(fill())
    return folder


@pytest.fixture
async def large(tmp_path: Path, filled: Path) -> AsyncIterator[SqliteStore]:
    """A store of its own with these."""
    shutil.copy(filled / "memory.db", tmp_path)
    one = SqliteStore.open(tmp_path)
    yield one
    await one.close()


def best(path: Path, limits: Limits, query: tuple[str, ...], wanted: Filter, size: int = 10) -> Ranked:
    """Return what word search brings for the namespace of the 1,500."""
    reader = apsw.Connection(str(path / "memory.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        name: Any = reader.execute("SELECT id FROM namespace WHERE tenant = 'acme'").get
        return WordSearch(limits).best(reader, name, Asked(query, wanted, PLAIN, NOW, size, size))
    finally:
        reader.close()


def questions(count: int) -> list[tuple[str, ...]]:
    return [tuple(dict.fromkeys(text.split())) for text in texts(count, words=5, seed=3)]


async def test_the_ten_best_are_those_of_the_full_score(large: SqliteStore, tmp_path: Path) -> None:
    overlaps, firsts = [], []
    for question in questions(60):
        every, cut = (best(tmp_path, limits, question, Filter()) for limits in (EVERY, SHORT_CUT))
        assert len(cut) == len(every)
        overlaps.append(len({place for place, _ in every} & {place for place, _ in cut}) / len(every))
        firsts.append(cut[0][1] >= every[0][1] * (1 - 1e-9))
    assert sum(overlaps) / len(overlaps) > 0.9
    assert sum(firsts) / len(firsts) > 0.9


async def test_the_scores_are_those_that_fts5_counts(large: SqliteStore, tmp_path: Path) -> None:
    compared = 0
    for question in questions(60):
        every = dict(best(tmp_path, EVERY, question, Filter()))
        for place, score in best(tmp_path, SHORT_CUT, question, Filter()):
            if place in every:
                assert score == pytest.approx(every[place], rel=1e-6)
                compared += 1
    assert compared > 300


async def test_common_words_count_beside_rare_ones(large: SqliteStore, tmp_path: Path) -> None:
    """Of memories with the same rare word, one that says a common word of the question as well stands above."""
    await put(large, Scope("acme", "default"), ["zebra rest rest", "zebra word7 rest", "zebra rest word9"])
    found = best(tmp_path, SHORT_CUT, ("zebra", "word7"), Filter(), size=3)
    reader = apsw.Connection(str(tmp_path / "memory.db"), flags=apsw.SQLITE_OPEN_READONLY)
    doc: Any = reader.execute("SELECT doc FROM memory WHERE position = ?", (found[0][0],)).get
    reader.close()
    assert msgspec.json.decode(doc)["content"] == "zebra word7 rest"


@pytest.mark.parametrize("kept", [1, 40])
async def test_a_filter_is_never_relaxed_and_loses_nothing(large: SqliteStore, tmp_path: Path, kept: int) -> None:
    contents = texts(kept, words=20, seed=4)
    for number, content in enumerate(contents):
        given = MemoryInput(content=content, user_id="ada")
        await large.change(Replace(ACME, f"ada{number}", "alice", NOW, given))
    for question in questions(20):
        wanted = Filter(user_id="ada")
        cut = best(tmp_path, SHORT_CUT, question, wanted)
        every = best(tmp_path, EVERY, question, wanted)
        holding = sum(1 for content in contents if set(question) & set(content.split()))
        assert {place for place, _ in cut} <= set(_positions(tmp_path, "ada"))
        assert len(cut) == len(every) == min(holding, 10)
        assert best(tmp_path, SHORT_CUT, question, Filter(user_id="nobody")) == []


async def test_what_may_not_be_seen_is_not_in_the_way(tmp_path: Path) -> None:
    """The newest holders of a word have all expired: those before them are found."""
    store = SqliteStore.open(tmp_path)
    await put(store, ACME, [f"tea cup{number}" for number in range(4)] + [f"rest{number}" for number in range(2000)])
    for number in range(900):
        given = MemoryInput(content=f"tea pot{number}", expires_at=SOON)
        await store.change(Replace(ACME, f"gone{number}", "alice", NOW - 1_000_000, given))
    reader = apsw.Connection(str(tmp_path / "memory.db"), flags=apsw.SQLITE_OPEN_READONLY)
    name: Any = reader.execute("SELECT id FROM namespace WHERE tenant = 'acme'").get
    asked = Asked(("tea",), Filter(), PLAIN, NOW + 5_000_000, 4, 4)
    found = WordSearch(Limits(small=0, exact=0, to_score=5)).best(reader, name, asked)
    reader.close()
    await store.close()
    assert len(found) == 4


async def test_no_question_finds_what_another_tenant_holds(large: SqliteStore, tmp_path: Path) -> None:
    await put(large, Scope("else", "default"), ["zebra zebra zebra"])
    assert best(tmp_path, SHORT_CUT, ("zebra",), Filter()) == []
    mine = set(_positions(tmp_path, None))
    for question in questions(30):
        assert {place for place, _ in best(tmp_path, SHORT_CUT, question, Filter())} <= mine


async def test_a_word_that_nearly_all_hold_still_finds(large: SqliteStore, tmp_path: Path) -> None:
    assert len(best(tmp_path, SHORT_CUT, ("word0",), Filter())) == 10
    assert best(tmp_path, SHORT_CUT, ("absent",), Filter()) == []
    many = tuple(WORDS)
    assert len(best(tmp_path, SHORT_CUT, many, Filter())) == 10


def _positions(path: Path, user: str | None) -> list[int]:
    reader = apsw.Connection(str(path / "memory.db"), flags=apsw.SQLITE_OPEN_READONLY)
    rows: list[Any] = reader.execute(
        "SELECT m.position, CAST(m.doc AS TEXT) FROM memory AS m JOIN namespace AS n ON n.id = m.namespace"
        " WHERE n.tenant = 'acme'"
    ).fetchall()
    reader.close()
    return [place for place, doc in rows if user is None or msgspec.json.decode(doc).get("user_id") == user]
