"""Earlier versions, restoring and purging mean the same in every store."""

from typing import Any

import msgspec
import pytest

from ragrid.services.memory.changes import Condition, Create, Delete, Idempotency, Patch, Purge, Replace, Restore, Scope
from ragrid.services.memory.errors import InvalidMemoryError, NotFoundError, ReplayGoneError, VersionError
from ragrid.services.memory.model import MemoryInput
from ragrid.services.memory.protocol.memories import Filter, Written
from ragrid.services.memory.protocol.store import MemoryStore
from ragrid.services.memory.words import words_of

ACME = Scope("acme", "default")
ELSEWHERE = [Scope("evil", "default"), Scope("acme", "other")]
NOW = 1_800_000_000_000_000
SECOND = 1_000_000


async def put(store: MemoryStore, content: str, *, at_us: int = NOW, actor: str = "alice", **members: Any) -> Written:
    return await store.change(Replace(ACME, "k", actor, at_us, MemoryInput(content=content, **members)))


async def restore(store: MemoryStore, version: int | None = None, *, at_us: int = NOW, **named: Any) -> Written:
    return await store.change(Restore(ACME, "k", "bob", at_us, version, **named))


async def purge(store: MemoryStore, memory_id: str = "k", *, at_us: int = NOW, **named: Any) -> Written:
    return await store.change(Purge(ACME, memory_id, "root", at_us, **named))


async def delete(store: MemoryStore, *, at_us: int = NOW) -> None:
    await store.change(Delete(ACME, "k", "alice", at_us))


async def current(store: MemoryStore, *, now_us: int = NOW) -> Any:
    read = await store.read(ACME, "k", now_us=now_us)
    return None if read is None else msgspec.json.decode(read.doc)


async def past(store: MemoryStore, *, now_us: int = NOW, scope: Scope = ACME, **which: int) -> str | None:
    read = await store.read_past(scope, "k", now_us=now_us, **which)
    if read is None:
        return None
    doc = msgspec.json.decode(read.doc)
    assert doc["version"] == read.version
    return str(doc["content"])


async def test_each_version_can_be_read_by_its_number_and_its_time(store: MemoryStore) -> None:
    for number in range(3):
        await put(store, f"v{number + 1}", at_us=NOW + number * SECOND)
    await delete(store, at_us=NOW + 3 * SECOND)
    later = NOW + 9 * SECOND
    assert [await past(store, version=n, now_us=later) for n in range(6)] == [None, "v1", "v2", "v3", None, None]
    times = [NOW - 1, NOW, NOW + SECOND - 1, NOW + SECOND, NOW + 2 * SECOND, NOW + 3 * SECOND, later]
    seen = [await past(store, as_of_us=at_us, now_us=later) for at_us in times]
    assert seen == [None, "v1", "v1", "v2", "v3", None, None]


async def test_what_was_over_at_a_time_was_not_seen_then(store: MemoryStore) -> None:
    await put(store, "short", ttl_seconds=10)
    await store.change(Patch(ACME, "k", "alice", NOW + SECOND, {"content": "longer", "ttl_seconds": 100}))
    now_us = NOW + 50 * SECOND
    assert await past(store, as_of_us=NOW + SECOND - 1, now_us=now_us) == "short"
    assert await past(store, version=1, now_us=now_us) == "short"
    await put(store, "kept", at_us=now_us, pinned=True)
    await put(store, "brief", at_us=now_us + SECOND, ttl_seconds=1)
    assert await past(store, as_of_us=now_us, now_us=now_us + SECOND) == "kept"
    assert await past(store, as_of_us=now_us + 2 * SECOND, now_us=now_us + SECOND) is None


async def test_nothing_of_the_past_is_seen_once_a_memory_has_expired(store: MemoryStore) -> None:
    await put(store, "secret")
    await put(store, "secret too", ttl_seconds=10)
    over = NOW + 10 * SECOND
    for _ in range(2):
        assert await past(store, version=1, now_us=over) is await past(store, as_of_us=NOW, now_us=over) is None
        with pytest.raises(NotFoundError):
            await restore(store, 1, at_us=over)
        await store.sweep(now_us=over, limit=10)


async def test_restoring_makes_a_new_version_of_an_old_one(store: MemoryStore) -> None:
    await put(store, "one", tags=("x",), user_id="u")
    await put(store, "two")
    written = await restore(store, 1)
    assert (written.version, written.is_new) == (3, False)
    doc = await current(store)
    assert (doc["content"], doc["tags"], doc["user_id"], doc["version"]) == ("one", ["x"], "u", 3)
    assert (doc["created_by"], doc["updated_by"]) == ("alice", "bob")
    assert [hit.doc for hit in await store.search(ACME, words_of("one"), Filter(tags=("x",)), now_us=NOW, limit=9)]
    assert (await restore(store)).version == 4  # without a number: undo
    assert (await current(store))["content"] == "two"


async def test_a_deleted_memory_can_be_brought_back(store: MemoryStore) -> None:
    await put(store, "one")
    await delete(store)
    assert (await store.stats()).rows == 0
    await restore(store, at_us=NOW + SECOND)
    doc = await current(store)
    assert (doc["content"], doc["version"], doc["created_by"], doc["created_at"]) == (
        "one",
        3,
        "alice",
        "2027-01-15T08:00:00Z",
    )
    assert (await store.stats()).rows == 1
    events = await store.history(ACME, "k", now_us=NOW, limit=9)
    assert events is not None
    assert [one.op for one in events] == ["restore", "delete", "create"]


async def test_what_cannot_be_restored_says_why(store: MemoryStore) -> None:
    with pytest.raises(NotFoundError):
        await restore(store, 1)
    await put(store, "brief", ttl_seconds=10)
    await store.change(Patch(ACME, "k", "alice", NOW, {"expires_at": None}))
    for version in (0, 7, None):
        if version is not None:
            with pytest.raises(InvalidMemoryError) as refusal:
                await restore(store, version)
            assert [pointer for pointer, _ in refusal.value.faults] == ["/version"]
    with pytest.raises(InvalidMemoryError) as refusal:
        await restore(store, 1, at_us=NOW + 10 * SECOND)
    assert "expired" in refusal.value.faults[0][1]
    with pytest.raises(VersionError):
        await restore(store, 1, condition=Condition(versions=frozenset({1})))
    await restore(store, 1, at_us=NOW + SECOND)
    assert (await current(store, now_us=NOW + 9 * SECOND))["content"] == "brief"
    assert await current(store, now_us=NOW + 10 * SECOND) is None


@pytest.mark.parametrize("is_deleted", [False, True])
async def test_a_purge_leaves_nothing_but_the_number(store: MemoryStore, *, is_deleted: bool) -> None:
    await put(store, "secret", tags=("x",), user_id="u")
    await put(store, "still secret")
    if is_deleted:
        await delete(store)
    await purge(store)
    assert await current(store) is None
    assert await store.history(ACME, "k", now_us=NOW, limit=9) is None
    assert [await past(store, version=n) for n in (1, 2)] == [None, None]
    assert await store.search(ACME, words_of("secret"), Filter(), now_us=NOW, limit=9) == ()
    assert (await store.page(ACME, Filter(tags=("x",)), now_us=NOW, limit=9)).docs == ()
    assert (await store.stats()).rows == 0
    for change in (restore(store, 1), purge(store)):
        with pytest.raises(NotFoundError):
            await change
    version = (await put(store, "new")).version
    assert version == (5 if is_deleted else 4)
    events = await store.history(ACME, "k", now_us=NOW, limit=9)
    assert events is not None
    assert [one.doc for one in events[1:]] == [None] * (version - 1)


async def test_a_purge_asks_for_what_is_there(store: MemoryStore) -> None:
    with pytest.raises(NotFoundError):
        await purge(store)
    await put(store, "one", ttl_seconds=10)
    with pytest.raises(VersionError):
        await purge(store, condition=Condition(versions=frozenset({7})))
    with pytest.raises(NotFoundError):
        await purge(store, at_us=NOW + 10 * SECOND)
    await purge(store, condition=Condition(versions=frozenset({1})))


async def test_a_replay_of_what_was_purged_is_gone(store: MemoryStore) -> None:
    create = Create(ACME, "id-1", "alice", NOW, MemoryInput(content="x"), Idempotency("key", b"f"))
    await store.change(create)
    await purge(store, "id-1")
    with pytest.raises(ReplayGoneError):
        await store.change(msgspec.structs.replace(create, id="id-2"))


@pytest.mark.parametrize("scope", ELSEWHERE)
async def test_the_past_is_behind_the_same_walls(store: MemoryStore, scope: Scope) -> None:
    await put(store, "mine")
    await store.change(Replace(scope, "other", "eve", NOW, MemoryInput(content="theirs")))
    assert await past(store, scope=scope, version=1) is await past(store, scope=scope, as_of_us=NOW) is None
    for change in (Restore(scope, "k", "eve", NOW, 1), Purge(scope, "k", "eve", NOW)):
        with pytest.raises(NotFoundError):
            await store.change(change)
    assert (await current(store))["content"] == "mine"
