"""Namespaces, their settings and their end mean the same in every store."""

import asyncio
from typing import Any

import msgspec
import pytest

from ragrid.services.memory.changes import Change, Condition, Create, Delete, Idempotency, Patch, Purge, Replace, Scope
from ragrid.services.memory.errors import (
    NoNamespaceError,
    NotFoundError,
    PreconditionRequiredError,
    QuotaError,
    VersionError,
)
from ragrid.services.memory.messages import Append, AppendRequest, MessageInput
from ragrid.services.memory.model import MemoryInput
from ragrid.services.memory.namespaces import EMPTY, Namespace, NamespaceSettings, PutNamespace
from ragrid.services.memory.protocol.memories import Filter, Written
from ragrid.services.memory.protocol.namespaces import Usage
from ragrid.services.memory.protocol.store import MemoryStore
from ragrid.services.memory.words import words_of

ACME = Scope("acme", "default")
ELSEWHERE = [Scope("evil", "default"), Scope("acme", "other")]
NOW = 1_800_000_000_000_000
SECOND = 1_000_000


def put(memory_id: str, content: str = "tea", *, scope: Scope = ACME, at_us: int = NOW, **members: Any) -> Replace:
    return Replace(scope, memory_id, "alice", at_us, MemoryInput(content=content, **members))


async def configure(
    store: MemoryStore, *, scope: Scope = ACME, condition: Condition | None = None, at_us: int = NOW, **settings: Any
) -> Namespace:
    return await store.put_namespace(
        PutNamespace(scope, "root", at_us, NamespaceSettings(**settings), condition or Condition())
    )


async def ids(store: MemoryStore, scope: Scope = ACME, *, now_us: int = NOW) -> list[str]:
    page = await store.page(scope, Filter(), now_us=now_us, limit=200)
    return [msgspec.json.decode(doc)["id"] for doc in page.docs]


async def doc_of(store: MemoryStore, memory_id: str) -> Any:
    read = await store.read(ACME, memory_id, now_us=NOW)
    return None if read is None else msgspec.json.decode(read.doc)


async def space(store: MemoryStore, scope: Scope = ACME) -> Namespace:
    found = await store.namespace(scope)
    assert found is not None
    return found


async def test_the_first_write_makes_a_namespace(store: MemoryStore) -> None:
    assert await store.namespace(ACME) is None
    written = await store.change(put("a"))
    found = await space(store)
    assert (found.name, found.version, found.created_us, found.updated_us) == ("default", 1, NOW, None)
    assert (found.room.settings, found.room.rows, found.room.size_bytes) == (EMPTY.settings, 1, len(written.doc))


async def test_what_is_in_a_namespace_is_counted_through_every_change(store: MemoryStore) -> None:
    async def counted() -> None:
        page = await store.page(ACME, Filter(), now_us=NOW, limit=200)
        room = (await space(store)).room
        assert (room.rows, room.size_bytes) == (len(page.docs), sum(len(doc) for doc in page.docs))

    changes: list[Change] = [
        put("a"),
        put("a", "a longer text"),
        put("b"),
        Patch(ACME, "a", "al", NOW, {"content": "x"}),
        Create(ACME, "c", "al", NOW, MemoryInput(content="tea"), on_duplicate="supersede"),
        Delete(ACME, "a", "al", NOW),
        Purge(ACME, "a", "al", NOW),
        put("a", "again"),
        Purge(ACME, "b", "al", NOW),
    ]
    for change in changes:
        await store.change(change)
        await counted()
    await store.change_all([put("x"), put("y"), Delete(ACME, "x", "al", NOW)], is_atomic=True)
    await counted()
    await store.change(put("brief", ttl_seconds=1))
    await store.sweep(now_us=NOW + SECOND, limit=10)
    await counted()


async def test_settings_have_a_version_of_their_own(store: MemoryStore) -> None:
    made = await configure(store, quota_rows=5)
    assert (made.version, made.updated_by, made.room.settings.quota_rows) == (1, "root", 5)
    await store.change(put("a"))
    changed = await configure(store, quota_bytes=9000, at_us=NOW + SECOND, condition=Condition(versions=frozenset({1})))
    assert (changed.version, changed.created_us, changed.updated_us) == (2, NOW, NOW + SECOND)
    assert changed.room.settings == NamespaceSettings(quota_bytes=9000)
    assert await space(store) == changed
    for condition in (Condition(versions=frozenset({1})), Condition(must_be_absent=True)):
        with pytest.raises(VersionError) as refusal:
            await configure(store, condition=condition)
        assert refusal.value.current_version == 2
    with pytest.raises(VersionError):
        await configure(store, scope=Scope("acme", "new"), condition=Condition(must_exist=True))
    assert await store.namespace(Scope("acme", "new")) is None


async def test_namespaces_are_listed_newest_first_and_by_tenant(store: MemoryStore) -> None:
    for name in ("one", "two", "three"):
        await store.change(put("a", scope=Scope("acme", name)))
    await store.change(put("a", scope=Scope("evil", "theirs")))
    first = await store.namespaces("acme", limit=2)
    rest = await store.namespaces("acme", limit=2, before=first[-1].position)
    assert [one.name for one in (*first, *rest)] == ["three", "two", "one"]
    assert await store.namespaces("nobody", limit=2) == ()
    total = sum(one.room.size_bytes for one in (*first, *rest))
    assert await store.usage("acme") == Usage(3, 3, total)
    assert await store.usage("nobody") == Usage(0, 0, 0)


async def test_a_default_life_is_for_memories_that_name_none(store: MemoryStore) -> None:
    await configure(store, default_ttl_seconds=10)
    await store.change(put("plain"))
    await store.change(put("own", ttl_seconds=100))
    await store.change(put("pinned", pinned=True))
    await store.change(put("freed"))
    await store.change(Patch(ACME, "freed", "al", NOW, {"expires_at": None}))
    assert (await doc_of(store, "plain"))["expires_at"] == "2027-01-15T08:00:10Z"
    assert sorted(await ids(store, now_us=NOW + 10 * SECOND)) == ["freed", "own", "pinned"]


async def test_a_quota_of_rows_refuses_what_is_one_too_many(store: MemoryStore) -> None:
    await configure(store, quota_rows=2)
    await store.change(put("a"))
    await store.change(put("b"))
    with pytest.raises(QuotaError) as refusal:
        await store.change(put("c"))
    assert (refusal.value.name, refusal.value.limit) == ("quota_rows", 2)
    await store.change(put("a", "a much longer text than before"))
    await store.change(Delete(ACME, "b", "al", NOW))
    await store.change(put("c"))
    assert await ids(store) == ["c", "a"]
    results = await store.change_all([Delete(ACME, "a", "al", NOW), put("d"), put("e")], is_atomic=True)
    assert isinstance(results[2], QuotaError)
    assert await ids(store) == ["c", "a"]


async def test_a_quota_of_bytes_refuses_growth_and_nothing_else(store: MemoryStore) -> None:
    written = await store.change(put("a", "x" * 1000))
    await configure(store, quota_bytes=len(written.doc) - 100)
    with pytest.raises(QuotaError):
        await store.change(put("b", "y"))
    with pytest.raises(QuotaError):
        await store.change(put("a", "x" * 1001))
    await store.change(put("a", "x" * 950))
    await store.change(put("a", "x"))
    await store.change(put("b", "y"))


async def test_of_many_creates_at_once_a_quota_takes_exactly_its_number(store: MemoryStore) -> None:
    await configure(store, quota_rows=10)
    results = await asyncio.gather(*(store.change(put(f"k{n}")) for n in range(40)), return_exceptions=True)
    assert sum(isinstance(one, Written) for one in results) == 10
    assert sum(isinstance(one, QuotaError) for one in results) == 30


async def test_duplicates_are_dealt_with_as_the_namespace_says_unless_the_caller_does(store: MemoryStore) -> None:
    await configure(store, on_duplicate="return")
    await store.change(put("a"))
    create = Create(ACME, "b", "al", NOW, MemoryInput(content="tea"))
    assert (await store.change(create)).id == "a"
    assert (await store.change(msgspec.structs.replace(create, on_duplicate="keep"))).id == "b"


async def test_careful_namespaces_take_no_change_without_a_version(store: MemoryStore) -> None:
    await store.change(put("a"))
    await configure(store, require_if_match=True)
    bare: list[Change] = [put("a"), put("b"), Patch(ACME, "a", "al", NOW, {}), Delete(ACME, "a", "al", NOW)]
    for change in (*bare, Purge(ACME, "a", "al", NOW)):
        with pytest.raises(PreconditionRequiredError):
            await store.change(change)
    with pytest.raises(NotFoundError):
        await store.change(Patch(ACME, "nobody", "al", NOW, {}))
    await store.change(Create(ACME, "new", "al", NOW, MemoryInput(content="x")))
    await store.change(msgspec.structs.replace(put("b"), condition=Condition(must_be_absent=True)))
    await store.change(msgspec.structs.replace(put("a"), condition=Condition(versions=frozenset({1}))))
    await store.change(Delete(ACME, "a", "al", NOW, Condition(must_exist=True)))


async def test_settings_hold_from_the_very_next_change(store: MemoryStore) -> None:
    results = await asyncio.gather(
        *(store.change(put(f"a{n}")) for n in range(5)),
        configure(store, quota_rows=5),
        *(store.change(put(f"b{n}")) for n in range(5)),
        return_exceptions=True,
    )
    assert sum(isinstance(one, QuotaError) for one in results) == 5


async def test_a_deleted_namespace_is_gone_at_once_with_all_that_is_in_it(store: MemoryStore) -> None:
    await configure(store, quota_rows=50)
    create = Create(ACME, "id-1", "alice", NOW, MemoryInput(content="secret"), Idempotency("key", b"f"))
    await store.change(create)
    for number in range(7):
        await store.change(put(f"k{number}", "secret", tags=("x",), ttl_seconds=5))
    await store.change(Delete(ACME, "k0", "al", NOW))
    said = AppendRequest(messages=(MessageInput(role="user", content="secret"),))
    await store.append(Append(ACME, "s", "alice", NOW, said))
    await store.change(put("mine", scope=Scope("acme", "other")))

    await store.delete_namespace(ACME)

    async def nothing() -> None:
        assert await store.namespace(ACME) is None
        assert await ids(store) == []
        assert await store.read(ACME, "k1", now_us=NOW) is None
        assert await store.history(ACME, "k1", now_us=NOW, limit=9) is None
        assert await store.search(ACME, words_of("secret"), Filter(), now_us=NOW, limit=9) == ()
        assert await store.messages(ACME, "s", now_us=NOW, limit=9, order="newest") is None
        assert [one.name for one in await store.namespaces("acme", limit=9)] == ["other"]
        assert (await store.stats()).rows == (await store.usage("acme")).rows == 1
        with pytest.raises(NotFoundError):
            await store.change(Patch(ACME, "k1", "al", NOW, {}))
        with pytest.raises(NoNamespaceError):
            await store.delete_namespace(ACME)

    await nothing()
    for _ in range(30):
        await store.sweep(now_us=NOW + 6 * SECOND, limit=2)
    await nothing()
    assert await ids(store, Scope("acme", "other")) == ["mine"]

    again = await store.change(msgspec.structs.replace(create, given=MemoryInput(content="new")))
    assert (again.id, again.version, again.is_replay) == ("id-1", 1, False)
    assert (await store.stats()).rows == 2
    found = await space(store)
    assert (found.version, found.room.settings, found.room.rows) == (1, EMPTY.settings, 1)
    assert await store.search(ACME, words_of("secret"), Filter(), now_us=NOW, limit=9) == ()


async def test_a_namespace_made_anew_before_the_sweep_shows_nothing_of_before(store: MemoryStore) -> None:
    await store.change(put("k", "secret"))
    await store.delete_namespace(ACME)
    made = await store.change(put("k", "new"))
    assert made.version == 1
    for _ in range(5):
        await store.sweep(now_us=NOW, limit=10)
    assert (await doc_of(store, "k"))["content"] == "new"
    events = await store.history(ACME, "k", now_us=NOW, limit=9)
    assert events is not None
    assert len(events) == 1


async def test_a_namespace_is_deleted_only_in_the_version_that_is_meant(store: MemoryStore) -> None:
    await configure(store)
    await configure(store)
    with pytest.raises(VersionError):
        await store.delete_namespace(ACME, condition=Condition(versions=frozenset({1})))
    await store.delete_namespace(ACME, condition=Condition(versions=frozenset({2})))
    with pytest.raises(NoNamespaceError):
        await store.delete_namespace(ACME)


@pytest.mark.parametrize("scope", ELSEWHERE)
async def test_settings_and_ends_stay_within_their_walls(store: MemoryStore, scope: Scope) -> None:
    await store.change(put("a"))
    await configure(store, scope=scope, quota_rows=1, require_if_match=True, default_ttl_seconds=1)
    await store.change(put("b"))
    assert (await doc_of(store, "b"))["expires_at"] is None
    await store.delete_namespace(scope)
    assert await ids(store) == ["b", "a"]


async def test_a_read_that_goes_on_while_a_namespace_ends_leaves_no_trace(store: MemoryStore) -> None:
    """Readers remember where a namespace lies; one that looked just before the end must not bring it back."""
    for round_ in range(20):
        await store.change(put("k", "old"))
        reads = [store.page(ACME, Filter(), now_us=NOW, limit=9) for _ in range(4)]
        await asyncio.gather(store.delete_namespace(ACME), *reads)
        assert await ids(store) == [], round_
        assert await store.read(ACME, "k", now_us=NOW) is None
