"""Export and import mean the same in every store, and lead from each to any other without a byte of difference."""

import os
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from ragrid.errors import RagridError
from ragrid.services.memory.changes import Create, Delete, Patch, Purge, Replace, Restore, Scope
from ragrid.services.memory.errors import QuotaError
from ragrid.services.memory.exchange.deciding import Verdict
from ragrid.services.memory.exchange.lines import Copy, EndLine, HeaderLine, parse_line
from ragrid.services.memory.messages import Append, AppendRequest, MessageInput
from ragrid.services.memory.model import MemoryInput
from ragrid.services.memory.namespaces import NamespaceSettings, PutNamespace
from ragrid.services.memory.postgresql.store import PostgresStore
from ragrid.services.memory.protocol.embeddings import Embedded
from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.protocol.search import QueryVector
from ragrid.services.memory.protocol.store import MemoryStore
from ragrid.services.memory.sqlite.store import SqliteStore
from ragrid.services.memory.vectors import GivenVector
from ragrid.services.memory.working_state import PutState, StateInput

#: Random histories that are moved from store to store; `RAGRID_HISTORIES=100` for the long proof.
HISTORIES = int(os.environ.get("RAGRID_HISTORIES", "3"))
ACME = Scope("acme", "default")
NOW = 1_800_000_000_000_000
SECOND = 1_000_000


@pytest.fixture
async def target(store: MemoryStore, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[MemoryStore]:
    """The store that an export is moved into: PostgreSQL from SQLite, and SQLite from everything else."""
    one: MemoryStore
    if isinstance(store, SqliteStore):
        one = await PostgresStore.open(request.getfixturevalue("memory_database"))
    else:
        one = SqliteStore.open(tmp_path / "target")
    yield one
    await one.close()


async def exported(
    store: MemoryStore, *, tenant: str = "acme", namespace: str | None = None, now_us: int = NOW
) -> list[bytes]:
    text, lines = b"", 0
    async for chunk in store.export(tenant, namespace, now_us=now_us):
        text += chunk.text
        lines += chunk.lines
    found = text.splitlines(keepends=True)
    assert len(found) == lines
    return found


def copies(lines: list[bytes], *, tenant: str = "acme", namespace: str | None = None) -> list[Copy]:
    found = [parse_line(line, tenant=tenant, namespace=namespace) for line in lines]
    return [one for one in found if not isinstance(one, HeaderLine | EndLine)]


async def take(store: MemoryStore, lines: list[bytes], *, now_us: int = NOW, is_atomic: bool = False) -> list[Verdict]:
    return list(await store.take(copies(lines), now_us=now_us, is_atomic=is_atomic))


async def put(
    store: MemoryStore, memory_id: str = "k", *, scope: Scope = ACME, at_us: int = NOW, **members: Any
) -> None:
    given = MemoryInput(**{"content": f"fact {memory_id}", **members})
    await store.change(Replace(scope, memory_id, "alice", at_us, given))


def brought(*values: float) -> GivenVector:
    return GivenVector(model="mine", values=values)


async def lived_in(store: MemoryStore, seed: int) -> int:
    """Do 60 random things to several namespaces; return the time after them."""
    chance = random.Random(seed)
    now_us = NOW
    settings = NamespaceSettings(quota_rows=1000, on_duplicate=chance.choice(["keep", "return"]))
    await store.put_namespace(PutNamespace(Scope("acme", "other"), "root", now_us, settings))
    await store.put_namespace(PutNamespace(Scope("acme", "empty"), "root", now_us, NamespaceSettings()))
    scopes = [Scope("acme", "default"), Scope("acme", "other"), Scope("evil", "default")]
    for number in range(60):
        now_us += chance.randrange(2 * SECOND)
        scope, memory_id = chance.choice(scopes), chance.choice("abcdef")
        given = MemoryInput(
            content=chance.choice(["tea ☕", "x" * 300, "\u2028\n"]),
            data=chance.choice([{}, {"n": 1e22, "deep": [{"a": None}], "big": 2**62, "f": 0.1}]),
            metadata=chance.choice([{}, {"plan": "pro", "n": -0.0}]),
            tags=chance.choice([(), ("t", "ü")]),
            ttl_seconds=chance.choice([None, None, 20]),
            pinned=chance.random() < 0.1,
            embedding=chance.choice([None, brought(chance.random(), chance.random() - 0.5, 1e-4)]),
        )
        change: Any = chance.choice(
            [
                Replace(scope, memory_id, "alice", now_us, given),
                Replace(scope, memory_id, "alice", now_us, given),
                Create(scope, f"new{number}", "bob", now_us, given, on_duplicate=chance.choice(["keep", "supersede"])),
                Patch(scope, memory_id, "bob", now_us, {"importance": chance.random(), "ttl_seconds": 30}),
                Delete(scope, memory_id, "bob", now_us),
                Restore(scope, memory_id, "alice", now_us),
                Purge(scope, memory_id, "root", now_us),
            ]
        )
        message = MessageInput(role="user", content=str(number), data={"n": number})
        ttl_s = chance.choice([None, 20])
        append = AppendRequest(messages=(message,) * chance.randrange(1, 3), ttl_seconds=ttl_s)
        state = StateInput(data={"step": number, "f": 1.5}, ttl_seconds=ttl_s)
        for work in (
            store.change(change),
            store.append(Append(scope, chance.choice("st"), "alice", now_us, append)),
            store.put_state(PutState(scope, chance.choice("st"), "alice", now_us, state)),
        ):
            try:
                await work
            except RagridError:
                continue
        if chance.random() < 0.1:
            await store.sweep(now_us=now_us, limit=100)
            await store.sweep_sessions(now_us=now_us, limit=100)
        if chance.random() < 0.03 and await store.state(scope, "s", now_us=now_us) is not None:
            await store.delete_session(scope, "s")
    return now_us


@pytest.mark.parametrize("seed", range(HISTORIES))
async def test_what_was_imported_is_exported_with_the_same_bytes(
    store: MemoryStore, target: MemoryStore, seed: int
) -> None:
    now_us = await lived_in(store, seed)
    lines = await exported(store, now_us=now_us)
    assert len(lines) > 15
    for carried in (b'{"kind":"namespace","namespace":"empty"', b'"float16"'):
        assert any(carried in line for line in lines)
    verdicts = await take(target, lines, now_us=now_us)
    assert all(one == Verdict(is_new=True) for one in verdicts)
    assert await exported(target, now_us=now_us) == lines
    for memory_id in "abcdef":
        there = await store.read(ACME, memory_id, now_us=now_us)
        here = await target.read(ACME, memory_id, now_us=now_us)
        assert (there is None) == (here is None)
        assert there is None or here is None or there.version == here.version


async def test_importing_again_changes_nothing(store: MemoryStore, target: MemoryStore) -> None:
    now_us = await lived_in(store, 7)
    lines = await exported(store, now_us=now_us)
    await take(target, lines, now_us=now_us)
    before = (await target.changes(ACME, since=0, now_us=now_us, limit=500)).last_seq
    assert all(one == Verdict() for one in await take(target, lines, now_us=now_us))
    assert await exported(target, now_us=now_us) == lines
    assert (await target.changes(ACME, since=0, now_us=now_us, limit=500)).last_seq == before


async def test_an_import_that_was_cut_goes_on_where_it_was(store: MemoryStore, target: MemoryStore) -> None:
    now_us = await lived_in(store, 8)
    lines = await exported(store, now_us=now_us)
    await take(target, lines[: len(lines) // 2], now_us=now_us)
    await take(target, lines, now_us=now_us)
    assert await exported(target, now_us=now_us) == lines


async def test_an_import_keeps_lists_searches_and_histories(store: MemoryStore, target: MemoryStore) -> None:
    await put(store, "a", content="tea at four")
    await put(store, "b", content="coffee")
    await put(store, "a", content="tea at five")
    await store.change(Delete(ACME, "b", "bob", NOW))
    await take(target, await exported(store))
    events = await target.history(ACME, "a", now_us=NOW, limit=10)
    assert events is not None
    assert [(one.op, one.version, one.actor) for one in events] == [("update", 2, "alice"), ("create", 1, "alice")]
    assert [one.op for one in await target.history(ACME, "b", now_us=NOW, limit=10) or ()] == ["delete", "create"]
    read = await target.read(ACME, "a", now_us=NOW)
    assert read is not None
    assert msgspec.json.decode(read.doc)["content"] == "tea at five"
    assert (await target.stats()).rows == 1


async def test_what_expired_or_was_purged_is_not_exported(store: MemoryStore) -> None:
    await put(store, "expired", content="secret", ttl_seconds=10)
    await put(store, "purged", content="secret")
    await store.change(Purge(ACME, "purged", "root", NOW))
    await put(store, "deleted", content="secret", ttl_seconds=10)
    await store.change(Delete(ACME, "deleted", "bob", NOW))
    over = NOW + 10 * SECOND
    assert len(await exported(store, now_us=over - 1)) == 3
    assert await exported(store, now_us=over) == []
    await store.sweep(now_us=over, limit=10)
    assert await exported(store, now_us=NOW) == []


async def test_what_began_again_after_its_end_is_exported_without_its_former_life(
    store: MemoryStore, target: MemoryStore
) -> None:
    await put(store, content="secret")
    await store.change(Delete(ACME, "k", "bob", NOW))
    await put(store, content="secret")
    await store.change(Purge(ACME, "k", "root", NOW))
    await put(store, content="public")
    (line,) = await exported(store)
    assert b"secret" not in line
    assert msgspec.json.decode(line)["version"] == 5
    await take(target, [line])
    assert await exported(target) == [line]
    await put(target, content="on")
    read = await target.read(ACME, "k", now_us=NOW)
    assert read is not None
    assert read.version == 6


async def test_nothing_that_was_erased_comes_back(store: MemoryStore, target: MemoryStore) -> None:
    await put(store, content="secret", ttl_seconds=10)
    lines = await exported(store)
    await take(target, lines)
    await target.change(Purge(ACME, "k", "root", NOW))
    assert await take(target, lines) == [Verdict()]
    assert await target.read(ACME, "k", now_us=NOW) is None
    assert await exported(target) == []


async def test_a_life_that_was_prolonged_is_taken_over_whole(store: MemoryStore, target: MemoryStore) -> None:
    await put(store, content="one", ttl_seconds=10)
    await store.change(Patch(ACME, "k", "alice", NOW + 5 * SECOND, {"content": "two", "ttl_seconds": 100}))
    late = NOW + 50 * SECOND
    lines = await exported(store, now_us=late)
    assert [one.is_new for one in await take(target, lines, now_us=late)] == [True, True]
    assert await exported(target, now_us=late) == lines


async def test_a_life_that_began_before_the_former_one_expired_is_taken_over_whole(
    store: MemoryStore, target: MemoryStore
) -> None:
    await put(store, content="one", ttl_seconds=10)
    await store.change(Delete(ACME, "k", "bob", NOW + SECOND))
    await put(store, content="two", at_us=NOW + 2 * SECOND)
    await put(store, "between")
    await store.change(Delete(ACME, "k", "bob", NOW + 3 * SECOND))
    late = NOW + 20 * SECOND
    lines = await exported(store, now_us=late)
    assert [msgspec.json.decode(line)["version"] for line in lines] == [1, 2, 3, 4, 1]
    assert all(one.is_new for one in await take(target, lines, now_us=late))
    assert await exported(target, now_us=late) == lines
    assert not any(one.is_new for one in await take(target, lines, now_us=late))


async def test_what_expired_here_is_ended_before_another_life_is_taken_over(
    store: MemoryStore, target: MemoryStore
) -> None:
    for content in ("a", "b", "c"):
        await put(store, content=content, at_us=NOW + SECOND)
    await put(target, content="secret", ttl_seconds=10)
    late = NOW + 20 * SECOND
    verdicts = await take(target, await exported(store, now_us=late), now_us=late)
    assert [(one.is_new, bool(one.faults)) for one in verdicts] == [(False, True), (False, True), (True, False)]
    text = b"".join(await exported(target, now_us=late))
    assert b"secret" not in text
    events = await target.history(ACME, "k", now_us=late, limit=10)
    assert events is not None
    assert all(b"secret" not in (one.doc or b"") for one in events)


async def test_a_contradiction_is_named_and_stops_nothing_else(store: MemoryStore, target: MemoryStore) -> None:
    await put(store, "a", content="one")
    await put(store, "b", content="two")
    await put(target, "a", content="other")
    first, second = await take(target, await exported(store))
    assert first.faults[0][0] == "/version"
    assert "other contents" in first.faults[0][1]
    assert second == Verdict(is_new=True)


async def test_an_atomic_import_with_a_fault_writes_nothing(store: MemoryStore, target: MemoryStore) -> None:
    await store.append(
        Append(ACME, "s", "alice", NOW, AppendRequest(messages=(MessageInput(role="user", content="hi"),)))
    )
    for memory_id in ("a", "b", "c"):
        await put(store, memory_id)
    await put(target, "b", content="other")
    before = await exported(target)
    verdicts = await take(target, await exported(store), is_atomic=True)
    assert [bool(one.faults) for one in verdicts] == [False, True, False, False]
    assert await exported(target) == before
    assert await target.messages(ACME, "s", now_us=NOW, limit=1, order="newest") is None
    await put(target, "d")  # and the store goes on
    assert [msgspec.json.decode(one)["id"] for one in await exported(target)] == ["b", "d"]


async def test_a_delete_of_nothing_is_a_fault(store: MemoryStore) -> None:
    line = b'{"kind":"memory","op":"delete","namespace":"default","id":"k","version":2,"at":"2027-01-15T08:00:00Z",'
    (verdict,) = await take(store, [line + b'"actor":"bob","memory":null}'])
    assert verdict.faults[0][0] == "/op"


async def test_an_export_is_of_one_moment_while_writes_go_on(store: MemoryStore) -> None:
    for number in range(300):
        await put(store, f"m{number}", content="x" * 3000)
    export = store.export("acme", None, now_us=NOW)
    first = await anext(export)
    for number in range(300):
        await put(store, f"m{number}", content="changed")
    await store.change(Purge(ACME, "m299", "root", NOW))
    text = first.text + b"".join([chunk.text async for chunk in export])
    assert b"changed" not in text
    assert [msgspec.json.decode(line)["id"] for line in text.splitlines()] == [f"m{n}" for n in range(300)]


async def test_an_export_that_is_left_lets_go(store: MemoryStore) -> None:
    for number in range(200):
        await put(store, f"m{number}", content="x" * 3000)
    for _ in range(10):
        export = store.export("acme", None, now_us=NOW)
        await anext(export)
        await export.aclose()
    assert len(await exported(store)) == 200


async def test_settings_of_namespaces_are_taken_over(store: MemoryStore, target: MemoryStore) -> None:
    settings = NamespaceSettings(default_ttl_seconds=60, quota_rows=1, on_duplicate="return")
    await store.put_namespace(PutNamespace(ACME, "root", NOW, settings))
    await put(store, "a")
    await put(target, "b")
    lines = await exported(store)
    assert [one.is_new for one in await take(target, lines, now_us=NOW + 1)] == [True, True]
    here = await target.namespace(ACME)
    assert here is not None
    assert (here.room.settings, here.room.rows, here.updated_us, here.updated_by) == (settings, 2, NOW, "root")
    with pytest.raises(QuotaError):
        await put(target, "c")
    assert [one.is_new for one in await take(target, lines, now_us=NOW + 1)] == [False, False]
    other = NamespaceSettings(quota_rows=7)
    await target.put_namespace(PutNamespace(ACME, "root", NOW + 2, other))
    first, _ = await take(target, lines)
    assert first.faults == (("/namespace", "the namespace 'default' has other settings here, and keeps them"),)
    assert all(one.faults or not one.is_new for one in await take(target, lines, is_atomic=True))


async def test_an_atomic_import_with_a_fault_leaves_settings_as_they_are(store: MemoryStore) -> None:
    await store.put_namespace(PutNamespace(ACME, "root", NOW, NamespaceSettings(quota_rows=1)))
    lines = [one.replace(b'"default"', b'"fresh"') for one in await exported(store)]
    line = b'{"kind":"memory","op":"delete","namespace":"fresh","id":"k","version":2,"at":"2027-01-15T08:00:00Z",'
    lines.append(line + b'"actor":"bob","memory":null}')
    assert [bool(one.faults) for one in await take(store, lines, is_atomic=True)] == [False, True]
    assert await store.namespace(Scope("acme", "fresh")) is None
    await put(store, "a", scope=Scope("acme", "fresh"))
    await put(store, "b", scope=Scope("acme", "fresh"))  # no quota came with what was undone


async def test_vectors_that_callers_brought_are_taken_over(store: MemoryStore, target: MemoryStore) -> None:
    await put(store, "a", content="tea", embedding=brought(3, 1, 2))
    await put(store, "b", content="coffee", embedding=brought(-1, 2, 0.1))
    await put(store, "b", content="cold coffee")  # another text: its vector is gone
    lines = await exported(store)
    assert [b'"float16"' in line for line in lines] == [True, False, False]
    await take(target, lines)
    assert await exported(target) == lines
    vector = QueryVector("mine", brought(3, 1, 2).direction)
    hits = await target.search(ACME, (), Filter(), now_us=NOW, limit=5, vector=vector)
    assert [(msgspec.json.decode(one.doc)["id"], round(one.score, 2)) for one in hits] == [("a", 1.0)]


async def test_vectors_of_another_model_are_left_out(store: MemoryStore, target: MemoryStore) -> None:
    await put(store, "a", embedding=brought(3, 1))
    await put(target, "z", embedding=GivenVector(model="theirs", values=(1.0, 0.0, 0.0)))
    assert await take(target, await exported(store)) == [Verdict(is_new=True)]
    assert await target.embedding_states(ACME, ["a", "z"]) == {"a": "none", "z": "ready"}


async def test_vectors_that_an_embedder_made_are_not_exported(store: MemoryStore) -> None:
    await store.use_models(["minilm"])
    await put(store, "a")
    (due,) = await store.claim_texts("minilm", now_us=NOW, limit=1, characters=100, lease_us=SECOND)
    vector = np.array([1, 0], np.float32)
    await store.store_vectors("minilm", [Embedded(due.position, due.digest, vector)])
    assert await store.embedding_states(ACME, ["a"]) == {"a": "ready"}
    assert b"float16" not in b"".join(await exported(store))


async def test_an_export_of_the_first_format_is_taken_over(store: MemoryStore) -> None:
    lines = (Path(__file__).parent / "released_exports" / "export-1.ndjson").read_bytes().splitlines(keepends=True)
    assert all(one.is_new for one in await take(store, lines))
    assert await exported(store) == lines[1:-1]


async def test_no_line_crosses_the_walls(store: MemoryStore, target: MemoryStore) -> None:
    await put(store, "mine")
    await put(store, "theirs", scope=Scope("evil", "default"))
    await put(store, "elsewhere", scope=Scope("acme", "other"))
    ids = [msgspec.json.decode(line)["id"] for line in await exported(store)]
    assert ids == ["mine", "elsewhere"]
    assert len(await exported(store, namespace="other")) == 1
    lines = await exported(store, tenant="evil")
    await target.take(copies(lines, namespace="copied"), now_us=NOW, is_atomic=False)
    assert await target.read(Scope("evil", "default"), "theirs", now_us=NOW) is None
    assert await target.read(Scope("acme", "copied"), "theirs", now_us=NOW) is not None
