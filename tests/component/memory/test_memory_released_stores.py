"""A store file of every released version opens, and answers as it did then.

`released/schema-N.db.gz` was made by the last release with that schema, `schema-N.json` is what it answered; a release
with a new schema adds its own: see tests/support/released_store.py.
"""

import gzip
import json
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ragrid.services.memory.changes import Create, Patch, Replace, Restore
from ragrid.services.memory.model import MemoryInput
from ragrid.services.memory.namespaces import Brought
from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.protocol.search import QueryVector
from ragrid.services.memory.sqlite.schema import MIGRATIONS
from ragrid.services.memory.sqlite.store import SqliteStore
from ragrid.services.memory.vectors import GivenVector
from support.released_store import ACME, BROUGHT, EVIL, NOW, WORK, answers

RELEASED = Path(__file__).parent / "released"
VERSIONS = sorted(path.name.removesuffix(".db.gz") for path in RELEASED.glob("*.db.gz"))


@pytest.fixture(params=VERSIONS)
def released(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Lay a released file into `tmp_path`; return what it answered."""
    (tmp_path / "memory.db").write_bytes(gzip.decompress((RELEASED / f"{request.param}.db.gz").read_bytes()))
    return json.loads((RELEASED / f"{request.param}.json").read_text())


def test_the_first_schema_is_among_them() -> None:
    assert "schema-1" in VERSIONS


async def test_it_answers_as_before(released: Any, tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path)
    assert await answers(store, released) == released
    await store.close()
    with sqlite3.connect(tmp_path / "memory.db") as database:
        assert database.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
    database.close()
    store = SqliteStore.open(tmp_path)  # a second start finds nothing to do
    assert await answers(store, released) == released
    await store.close()


async def test_what_is_new_works_on_what_is_old(released: Any, tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path)
    try:
        space = await store.namespace(ACME)
        assert space is not None
        docs = [(doc or "").encode() for key, (_, doc) in _alive(released)]
        swept_later = 1  # `over` has expired and is not swept yet
        assert space.room.rows == len(docs) + swept_later
        before = json.loads(released["reads"]["acme:default:tea"][1])
        same = MemoryInput(**{name: before[name] for name in ("content", "data", "user_id", "type")})
        twin = await store.change(Create(ACME, "new", "alice", NOW, same, on_duplicate="return"))
        assert (twin.id, twin.doc.decode()) == ("tea", released["reads"]["acme:default:tea"][1])
        assert (await store.change(Restore(ACME, "gone", "alice", NOW))).version == 3
        patched = await store.change(Patch(ACME, "tea", "alice", NOW, {"importance": 0.1}))
        doc = msgspec.json.decode(patched.doc)
        assert (doc["content"], doc["version"], doc["supersedes"]) == (before["content"], before["version"] + 1, [])
        named = MemoryInput(content="x", supersedes=("coffee",))
        await store.change(Replace(ACME, "new", "alice", NOW, named))
        read = await store.read(ACME, "coffee", now_us=NOW)
        assert read is not None
        assert msgspec.json.decode(read.doc)["superseded_by"] == "new"
        assert await store.sweep(now_us=NOW, limit=10) == 1
    finally:
        await store.close()


@pytest.mark.parametrize("released", [one for one in VERSIONS if one >= "schema-5"], indirect=True)
async def test_vectors_that_callers_brought_are_found(released: Any, tmp_path: Path) -> None:
    """Before the sixth schema, all namespaces had one model in common."""
    store = SqliteStore.open(tmp_path)
    try:
        for scope in (WORK, EVIL):
            vector = QueryVector(BROUGHT.model, BROUGHT.direction)
            hits = await store.search(scope, (), Filter(), now_us=NOW, limit=9, vector=vector)
            assert [msgspec.json.decode(hit.doc)["id"] for hit in hits] == ["near"]
            space = await store.namespace(scope)
            assert space is not None
            assert space.room.brought == Brought("theirs", 3)
        elsewhere = await store.namespace(ACME)
        assert elsewhere is not None
        assert elsewhere.room.brought is None
        assert (await store.models()).active is None
        other = GivenVector(model="another", values=(1.0, 0.0))
        await store.change(Replace(ACME, "tea", "alice", NOW, MemoryInput(content="tea", embedding=other)))
        await store.use_models(["an embedder"])
        await store.change(Replace(WORK, "new", "alice", NOW, MemoryInput(content="tea")))
        assert (await store.outbox("an embedder")).waiting == 1
    finally:
        await store.close()


def _alive(released: Any) -> list[Any]:
    return [(key, read) for key, read in released["reads"].items() if key.startswith("acme:default:") and read]
