"""The change feed means the same in every store."""

import asyncio
from typing import Any

import msgspec
import pytest

from ragrid.services.memory.changes import Condition, Create, Delete, Patch, Purge, Replace, Scope
from ragrid.services.memory.errors import VersionError
from ragrid.services.memory.model import MemoryInput
from ragrid.services.memory.protocol.feed import PAGE_BYTES, FeedEvent
from ragrid.services.memory.protocol.store import MemoryStore

ACME = Scope("acme", "default")
OTHERS = [Scope("evil", "default"), Scope("acme", "other")]
NOW = 1_800_000_000_000_000
SECOND = 1_000_000


async def put(store: MemoryStore, memory_id: str, *, scope: Scope = ACME, at_us: int = NOW, **members: Any) -> None:
    given = MemoryInput(**{"content": f"fact {memory_id}", **members})
    await store.change(Replace(scope, memory_id, "alice", at_us, given))


async def feed(
    store: MemoryStore, *, since: int = 0, scope: Scope = ACME, now_us: int = NOW, limit: int = 100
) -> tuple[FeedEvent, ...]:
    return (await store.changes(scope, since=since, now_us=now_us, limit=limit)).events


async def test_every_version_is_one_change_in_the_order_of_the_commits(store: MemoryStore) -> None:
    await put(store, "a")
    await put(store, "b")
    await store.change(Patch(ACME, "a", "bob", NOW + SECOND, {"content": "new"}))
    await store.change(Delete(ACME, "b", "bob", NOW + SECOND))
    events = await feed(store)
    assert [(one.op, one.id, one.version, one.actor) for one in events] == [
        ("create", "a", 1, "alice"),
        ("create", "b", 1, "alice"),
        ("update", "a", 2, "bob"),
        ("delete", "b", 2, "bob"),
    ]
    assert [one.seq for one in events] == sorted({one.seq for one in events})
    assert [one.doc and msgspec.json.decode(one.doc)["content"] for one in events] == ["fact a", "fact b", "new", None]
    assert [one.doc and msgspec.json.decode(one.doc)["seq"] for one in events[:3]] == [one.seq for one in events[:3]]


async def test_who_goes_on_after_what_it_saw_misses_nothing_and_sees_nothing_twice(store: MemoryStore) -> None:
    seen: list[str] = []
    since = 0
    for round_ in range(4):
        await asyncio.gather(*(put(store, f"{round_}-{number}") for number in range(7)))
        while True:
            page = await store.changes(ACME, since=since, now_us=NOW, limit=3)
            seen += [one.id for one in page.events]
            since = page.events[-1].seq if page.events else since
            if not page.has_more:
                break
        assert since == page.last_seq
    assert sorted(seen) == sorted(f"{round_}-{number}" for round_ in range(4) for number in range(7))


async def test_a_refused_change_is_no_change(store: MemoryStore) -> None:
    await put(store, "a")
    with pytest.raises(VersionError):
        await store.change(Delete(ACME, "a", "alice", NOW, Condition(versions=frozenset({9}))))
    assert [one.op for one in await feed(store)] == ["create"]


async def test_what_expired_shows_no_content_at_the_very_microsecond(store: MemoryStore) -> None:
    await put(store, "a", ttl_seconds=10)
    await put(store, "b")
    over = NOW + 10 * SECOND
    assert [one.doc is None for one in await feed(store, now_us=over - 1)] == [False, False]
    assert [(one.id, one.doc is None) for one in await feed(store, now_us=over)] == [("a", True), ("b", False)]
    await store.sweep(now_us=over, limit=10)
    events = await feed(store, now_us=NOW)
    assert [(one.op, one.id, one.doc is None) for one in events] == [
        ("create", "a", True),
        ("create", "b", False),
        ("expire", "a", True),
    ]


async def test_what_was_purged_shows_no_content(store: MemoryStore) -> None:
    await put(store, "a", content="secret")
    await put(store, "a", content="secret too")
    await store.change(Purge(ACME, "a", "root", NOW))
    assert [(one.op, one.doc) for one in await feed(store)][-1] == ("purge", None)
    assert all(one.doc is None for one in await feed(store))


async def test_a_deleted_memory_that_expires_shows_no_content_either(store: MemoryStore) -> None:
    await put(store, "a", ttl_seconds=10)
    await store.change(Delete(ACME, "a", "alice", NOW))
    assert [one.doc is None for one in await feed(store)] == [False, True]
    assert all(one.doc is None for one in await feed(store, now_us=NOW + 10 * SECOND))


async def test_an_answer_is_bounded_in_bytes(store: MemoryStore) -> None:
    for number in range(24):
        await put(store, str(number), data={"x": "y" * 60_000})
    seen: list[str] = []
    has_more, since = True, 0
    while has_more:
        page = await store.changes(ACME, since=since, now_us=NOW, limit=500)
        assert sum(len(one.doc or b"") for one in page.events) <= PAGE_BYTES
        seen += [one.id for one in page.events]
        since, has_more = page.events[-1].seq, page.has_more
    assert seen == [str(number) for number in range(24)]


async def test_no_change_is_seen_across_the_walls(store: MemoryStore) -> None:
    await put(store, "a")
    for scope in OTHERS:
        assert await feed(store, scope=scope) == ()
        await put(store, "a", scope=scope)
        assert [(one.op, one.id) for one in await feed(store, scope=scope)] == [("create", "a")]
    assert len(await feed(store)) == 1


async def test_the_last_seq_is_not_the_namespaces_and_only_grows(store: MemoryStore) -> None:
    assert (await store.changes(ACME, since=0, now_us=NOW, limit=1)).last_seq == 0
    await put(store, "a", scope=OTHERS[0])
    await put(store, "b", scope=OTHERS[1])
    last_seq = (await store.changes(ACME, since=0, now_us=NOW, limit=1)).last_seq
    assert last_seq == (await feed(store, scope=OTHERS[1]))[0].seq  # the last of this tenant at least


async def test_a_commit_wakes_who_waits_for_that_namespace_alone(store: MemoryStore) -> None:
    with store.watches.watch(ACME) as mine, store.watches.watch(OTHERS[0]) as foreign:
        for watch in (mine, foreign):
            watch.rearm()
        await put(store, "a")
        await asyncio.wait_for(mine.changed(), 30)
        await store.probe()  # whatever was on its way has arrived
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(foreign.changed(), 0.001)
    assert len(store.watches) == 0


async def test_a_sweep_wakes_as_well(store: MemoryStore) -> None:
    await put(store, "a", ttl_seconds=10)
    with store.watches.watch(ACME) as watch:
        watch.rearm()
        await store.sweep(now_us=NOW + 10 * SECOND, limit=10)
        await asyncio.wait_for(watch.changed(), 30)


async def test_a_create_under_load_is_found_by_one_who_waits(store: MemoryStore) -> None:
    """A reader that rearms, reads and waits sees all of 200 concurrent writes, without asking in turns."""

    async def follow() -> list[str]:
        seen: list[str] = []
        since = 0
        with store.watches.watch(ACME) as watch:
            while len(seen) < 200:
                watch.rearm()
                page = await store.changes(ACME, since=since, now_us=NOW, limit=50)
                seen += [one.id for one in page.events]
                since = page.events[-1].seq if page.events else since
                if not page.has_more and len(seen) < 200:
                    await asyncio.wait_for(watch.changed(), 30)
        return seen

    following = asyncio.create_task(follow())
    writes = (Create(ACME, f"m{n}", "alice", NOW, MemoryInput(content="x")) for n in range(200))
    await asyncio.gather(*(store.change(one) for one in writes))
    seen = await following
    assert (len(seen), len(set(seen))) == (200, 200)
