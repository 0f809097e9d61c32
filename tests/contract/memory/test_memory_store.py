"""One meaning for every memory store: each test runs on all of them."""

import asyncio
from typing import Any

import msgspec
import pytest

from ragrid.services.memory.changes import Condition, Create, Delete, Idempotency, Patch, Replace, Scope
from ragrid.services.memory.errors import (
    InvalidMemoryError,
    KeyReusedError,
    NotFoundError,
    ReplayGoneError,
    VersionError,
)
from ragrid.services.memory.model import MemoryInput
from ragrid.services.memory.protocol.memories import IDEMPOTENCY_US, Event, Filter, Written
from ragrid.services.memory.protocol.store import MemoryStore
from ragrid.services.memory.words import words_of

ACME = Scope("acme", "default")
NOW = 1_800_000_000_000_000
SECOND = 1_000_000


def given(content: str = "a fact", **members: Any) -> MemoryInput:
    return MemoryInput(content=content, **members)


async def put(
    store: MemoryStore,
    memory_id: str = "k",
    content: str = "a fact",
    *,
    scope: Scope = ACME,
    at_us: int = NOW,
    condition: Condition | None = None,
    **members: Any,
) -> Written:
    change = Replace(scope, memory_id, "alice", at_us, given(content, **members), condition or Condition())
    return await store.change(change)


async def ids(store: MemoryStore, wanted: Filter | None = None, *, scope: Scope = ACME, now_us: int = NOW) -> list[str]:
    page = await store.page(scope, wanted or Filter(), now_us=now_us, limit=200)
    assert page.next_position is None
    return [msgspec.json.decode(doc)["id"] for doc in page.docs]


async def found(
    store: MemoryStore, query: str, wanted: Filter | None = None, *, scope: Scope = ACME, now_us: int = NOW
) -> list[str]:
    hits = await store.search(scope, words_of(query), wanted or Filter(), now_us=now_us, limit=100)
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score <= 1 for score in scores)
    assert scores[:1] in ([], [1.0])
    return [msgspec.json.decode(hit.doc)["id"] for hit in hits]


async def history(store: MemoryStore, memory_id: str = "k", *, now_us: int = NOW) -> tuple[Event, ...] | None:
    return await store.history(ACME, memory_id, now_us=now_us, limit=100)


async def test_a_created_memory_is_read_as_it_was_answered(store: MemoryStore) -> None:
    made = await store.change(Create(ACME, "id-1", "alice", NOW, given("tea", tags=("drink",))))
    read = await store.read(ACME, "id-1", now_us=NOW)
    assert read is not None
    assert (made.version, made.is_new) == (1, True)
    assert (read.version, read.doc) == (1, made.doc)
    doc = msgspec.json.decode(made.doc)
    assert (doc["content"], doc["tags"], doc["created_by"], doc["version"]) == ("tea", ["drink"], "alice", 1)
    assert doc["created_at"] == doc["updated_at"] == "2027-01-15T08:00:00Z"


async def test_replacing_keeps_who_made_it_and_when(store: MemoryStore) -> None:
    await put(store)
    change = Replace(ACME, "k", "bob", NOW + SECOND, given("new"))
    doc = msgspec.json.decode((await store.change(change)).doc)
    assert (doc["created_by"], doc["updated_by"], doc["version"]) == ("alice", "bob", 2)
    assert doc["created_at"] < doc["updated_at"]


async def test_a_patch_merges_and_null_removes(store: MemoryStore) -> None:
    await put(store, data={"a": {"b": 1, "c": 2}}, user_id="u", tags=("x",))
    patch = {"data": {"a": {"b": None, "d": 4}}, "user_id": None, "tags": ["y", "z"]}
    doc = msgspec.json.decode((await store.change(Patch(ACME, "k", "alice", NOW, patch))).doc)
    assert (doc["data"], doc["user_id"], doc["tags"], doc["content"]) == (
        {"a": {"c": 2, "d": 4}},
        None,
        ["y", "z"],
        "a fact",
    )


async def test_a_patch_that_makes_no_memory_is_refused_and_changes_nothing(store: MemoryStore) -> None:
    before = await put(store)
    with pytest.raises(InvalidMemoryError) as refusal:
        await store.change(Patch(ACME, "k", "alice", NOW, {"importance": 2, "tags": [1]}))
    assert {pointer for pointer, _ in refusal.value.faults} == {"/importance", "/tags/0"}
    read = await store.read(ACME, "k", now_us=NOW)
    assert read is not None
    assert read.doc == before.doc


@pytest.mark.parametrize("change", [Patch(ACME, "no", "alice", NOW, {}), Delete(ACME, "no", "alice", NOW)])
async def test_what_is_not_there_cannot_be_patched_or_deleted(store: MemoryStore, change: Patch | Delete) -> None:
    with pytest.raises(NotFoundError):
        await store.change(change)


async def test_a_version_that_is_not_current_is_refused_with_the_current_one(store: MemoryStore) -> None:
    await put(store)
    await put(store, condition=Condition(versions=frozenset({1})))
    with pytest.raises(VersionError) as refusal:
        await put(store, condition=Condition(versions=frozenset({1})))
    assert refusal.value.current_version == 2


async def test_must_be_absent_and_must_exist(store: MemoryStore) -> None:
    with pytest.raises(VersionError):
        await put(store, condition=Condition(must_exist=True))
    await put(store, condition=Condition(must_be_absent=True))
    with pytest.raises(VersionError):
        await put(store, condition=Condition(must_be_absent=True))
    await put(store, condition=Condition(must_exist=True))


async def test_of_many_writers_with_one_version_exactly_one_wins(store: MemoryStore) -> None:
    version = (await put(store)).version
    for _ in range(3):
        condition = Condition(versions=frozenset({version}))
        results = await asyncio.gather(
            *(put(store, content=f"by {n}", condition=condition) for n in range(64)), return_exceptions=True
        )
        winners = [one for one in results if isinstance(one, Written)]
        assert len(winners) == 1
        assert all(isinstance(one, Written | VersionError) for one in results)
        version = winners[0].version


async def test_versions_go_on_across_a_delete(store: MemoryStore) -> None:
    await put(store)
    await store.change(Delete(ACME, "k", "alice", NOW))
    assert await store.read(ACME, "k", now_us=NOW) is None
    again = await put(store)
    assert (again.version, again.is_new) == (3, True)


async def test_the_history_tells_every_version_newest_first(store: MemoryStore) -> None:
    await put(store, content="one")
    await put(store, content="two")
    await store.change(Delete(ACME, "k", "bob", NOW + SECOND))
    events = await history(store)
    assert events is not None
    assert [(event.op, event.version, event.actor) for event in events] == [
        ("delete", 3, "bob"),
        ("update", 2, "alice"),
        ("create", 1, "alice"),
    ]
    assert [event.doc and msgspec.json.decode(event.doc)["content"] for event in events] == [None, "two", "one"]
    below = await store.history(ACME, "k", now_us=NOW, limit=1, before=events[0].seq)
    assert below == (events[1],)


async def test_expiry_holds_at_the_very_microsecond_and_needs_no_sweep(store: MemoryStore) -> None:
    await put(store, content="tea", ttl_seconds=10, user_id="u")
    last, over = NOW + 10 * SECOND - 1, NOW + 10 * SECOND
    assert await store.read(ACME, "k", now_us=last) is not None
    assert await ids(store, now_us=last) == await found(store, "tea", now_us=last) == ["k"]
    assert await history(store, now_us=last) is not None
    assert await store.read(ACME, "k", now_us=over) is None
    assert await ids(store, now_us=over) == await found(store, "tea", now_us=over) == []
    assert await history(store, now_us=over) is None
    with pytest.raises(NotFoundError):
        await store.change(Patch(ACME, "k", "alice", over, {"importance": 1}))


async def test_a_sweep_erases_what_expired_in_batches_and_shows_no_difference(store: MemoryStore) -> None:
    for number in range(5):
        await put(store, f"k{number}", ttl_seconds=10)
    await put(store, "stays")
    over = NOW + 11 * SECOND
    assert [await store.sweep(now_us=over, limit=2) for _ in range(4)] == [2, 2, 1, 0]
    assert await ids(store, now_us=over) == ["stays"]
    assert await history(store, "k0", now_us=over) is None
    assert (await store.stats()).rows == 1


async def test_a_memory_made_anew_after_its_expiry_shows_nothing_of_before(store: MemoryStore) -> None:
    await put(store, content="secret", ttl_seconds=10)
    made = await put(store, content="new", at_us=NOW + 11 * SECOND)
    assert (made.version, made.is_new) == (3, True)
    events = await history(store, now_us=NOW + 11 * SECOND)
    assert events is not None
    assert [(event.op, event.doc is None) for event in events] == [
        ("create", False),
        ("expire", True),
        ("create", True),
    ]


async def test_the_contents_of_a_deleted_memory_expire_too(store: MemoryStore) -> None:
    await put(store, content="secret", ttl_seconds=10)
    await store.change(Delete(ACME, "k", "alice", NOW))
    assert await history(store) is not None
    over = NOW + 10 * SECOND
    assert await history(store, now_us=over) is None
    assert await store.sweep(now_us=over, limit=10) == 1
    assert await history(store, now_us=over) is None


async def test_while_pinned_a_memory_does_not_expire(store: MemoryStore) -> None:
    await put(store, ttl_seconds=10, pinned=True)
    later = NOW + 20 * SECOND
    assert await store.sweep(now_us=later, limit=10) == 0
    assert await ids(store, now_us=later) == ["k"]
    await store.change(Patch(ACME, "k", "alice", later, {"pinned": False}))
    assert await ids(store, now_us=later) == []


async def test_a_patch_can_move_the_expiry(store: MemoryStore) -> None:
    await put(store, ttl_seconds=10)
    await store.change(Patch(ACME, "k", "alice", NOW, {"ttl_seconds": 100}))
    assert await ids(store, now_us=NOW + 50 * SECOND) == ["k"]
    await store.change(Patch(ACME, "k", "alice", NOW, {"expires_at": None}))
    assert await ids(store, now_us=NOW + 500 * SECOND) == ["k"]


async def test_lists_are_newest_first_and_filters_are_all_kept(store: MemoryStore) -> None:
    await put(store, "a", user_id="u", tags=("x", "y"))
    await put(store, "b", user_id="u", agent_id="g", tags=("x",), type="episodic")
    await put(store, "c", session_id="s", tags=("y", "x"))
    await put(store, "a", user_id="u", tags=("x", "y"))  # a new version keeps its place
    assert await ids(store) == ["c", "b", "a"]
    assert await ids(store, Filter(user_id="u")) == ["b", "a"]
    assert await ids(store, Filter(agent_id="g", user_id="u")) == ["b"]
    assert await ids(store, Filter(session_id="s")) == ["c"]
    assert await ids(store, Filter(type="episodic")) == ["b"]
    assert await ids(store, Filter(tags=("x", "y"))) == ["c", "a"]
    assert await ids(store, Filter(tags=("x", "y"), user_id="u")) == ["a"]
    assert await ids(store, Filter(user_id="u", session_id="s")) == []


@pytest.mark.parametrize("wanted", [Filter(), Filter(user_id="u"), Filter(tags=("x",)), Filter(tags=("x", "z"))])
async def test_a_walk_sees_everything_once_whatever_is_written_meanwhile(store: MemoryStore, wanted: Filter) -> None:
    for number in range(10):
        await put(store, f"k{number}", user_id="u", tags=("x", "z"))
    seen: list[str] = []
    before: int | None = None
    while True:
        page = await store.page(ACME, wanted, now_us=NOW, limit=3, before=before)
        seen += [msgspec.json.decode(doc)["id"] for doc in page.docs]
        before = page.next_position
        if before is None:
            break
        await put(store, f"new{len(seen)}", user_id="u", tags=("x", "z"))
        await put(store, "k0", content="changed", user_id="u", tags=("x", "z"))
    assert seen == [f"k{number}" for number in reversed(range(10))]


async def test_a_full_last_page_has_no_next(store: MemoryStore) -> None:
    for number in range(4):
        await put(store, f"k{number}")
    page = await store.page(ACME, Filter(), now_us=NOW, limit=4)
    assert (len(page.docs), page.next_position) == (4, None)


async def test_search_finds_words_in_content_tags_and_data_best_first(store: MemoryStore) -> None:
    await put(store, "much", "coffee coffee coffee")
    await put(store, "some", "there is coffee in the kitchen, on the left, beside the old tap and the window")
    await put(store, "tagged", "nothing here", tags=("coffee",))
    await put(store, "deep", "nor here", data={"list": [{"name": "Coffee"}]})
    await put(store, "other", "only tea")
    for number in range(8):
        await put(store, f"fill{number}", "words that nobody looks for")
    result = await found(store, "COFFEE")
    assert set(result) == {"much", "some", "tagged", "deep"}
    assert result.index("much") < result.index("some")
    assert await found(store, "Kaffee") == []


async def test_search_ignores_case_and_accents(store: MemoryStore) -> None:
    await put(store, "k", "Crème Brûlée à la ÉCOLE")
    assert await found(store, "creme") == await found(store, "école") == await found(store, "BRULEE") == ["k"]


async def test_search_sees_changes_at_once(store: MemoryStore) -> None:
    await put(store, content="tea", tags=("old",))
    await put(store, content="coffee", tags=("new",))
    assert await found(store, "tea old") == []
    assert await found(store, "coffee") == await found(store, "new") == ["k"]
    await store.change(Delete(ACME, "k", "alice", NOW))
    assert await found(store, "coffee") == await ids(store, Filter(tags=("new",))) == []


async def test_search_never_relaxes_a_filter(store: MemoryStore) -> None:
    await put(store, "a", "coffee", user_id="u", tags=("x",))
    await put(store, "b", "coffee", user_id="v")
    assert await found(store, "coffee", Filter(user_id="u")) == ["a"]
    assert await found(store, "coffee", Filter(tags=("x",))) == ["a"]
    assert await found(store, "coffee", Filter(user_id="nobody")) == []
    assert await found(store, "coffee", Filter(type="episodic")) == []


@pytest.mark.parametrize(
    "query",
    [
        '"',
        "scope:n1",
        "* OR coffee",
        "NEAR(a b)",
        "a AND NOT b",
        "{content}:x",
        "coffee*",
        "-coffee",
        "^coffee",
        "a\0b",
    ],
)
async def test_no_query_is_taken_for_syntax(store: MemoryStore, query: str) -> None:
    await put(store, "a", "coffee", scope=Scope("acme", "other"))
    await put(store, "b", "unrelated")
    assert await found(store, query) == []


@pytest.mark.parametrize("scope", [Scope("evil", "default"), Scope("acme", "other"), Scope("default", "acme")])
async def test_nothing_crosses_the_walls(store: MemoryStore, scope: Scope) -> None:
    await put(store, "k", "coffee", tags=("x",), user_id="u")
    await put(store, "other", "tea", scope=scope)
    assert await store.read(scope, "k", now_us=NOW) is None
    assert await ids(store, scope=scope) == ["other"]
    assert await found(store, "coffee", scope=scope) == []
    assert await store.history(scope, "k", now_us=NOW, limit=10) is None
    for change in (Patch(scope, "k", "eve", NOW, {"content": "x"}), Delete(scope, "k", "eve", NOW)):
        with pytest.raises(NotFoundError):
            await store.change(change)
    assert (await put(store, "k", "mine", scope=scope)).is_new
    read = await store.read(ACME, "k", now_us=NOW)
    assert read is not None
    assert msgspec.json.decode(read.doc)["content"] == "coffee"


def create(memory_id: str, key: str, fingerprint: bytes = b"f", *, at_us: int = NOW, **members: Any) -> Create:
    return Create(ACME, memory_id, "alice", at_us, given(**members), Idempotency(key, fingerprint))


async def test_an_idempotency_key_gives_the_first_answer_again(store: MemoryStore) -> None:
    first = await store.change(create("id-1", "key"))
    again = await store.change(create("id-2", "key"))
    assert (again.id, again.doc, again.version) == (first.id, first.doc, first.version)
    assert (first.is_replay, again.is_replay) == (False, True)
    assert await ids(store) == ["id-1"]


async def test_two_requests_at_once_with_one_key_make_one_memory(store: MemoryStore) -> None:
    results = await asyncio.gather(*(store.change(create(f"id-{n}", "key")) for n in range(16)))
    assert len({one.id for one in results}) == 1
    assert len(await ids(store)) == 1


async def test_an_idempotency_key_with_another_request_is_refused(store: MemoryStore) -> None:
    await store.change(create("id-1", "key"))
    with pytest.raises(KeyReusedError):
        await store.change(create("id-2", "key", b"other"))


async def test_idempotency_keys_are_walled_off_and_forgotten_after_a_day(store: MemoryStore) -> None:
    await store.change(create("id-1", "key"))
    other = Create(Scope("evil", "default"), "id-2", "alice", NOW, given(), Idempotency("key", b"x"))
    assert not (await store.change(other)).is_replay
    later = await store.change(create("id-3", "key", b"x", at_us=NOW + IDEMPOTENCY_US))
    assert not later.is_replay


@pytest.mark.parametrize("is_swept", [True, False])
async def test_a_replay_never_shows_what_has_expired(store: MemoryStore, is_swept: bool) -> None:
    await store.change(create("id-1", "key", ttl_seconds=10))
    over = NOW + 10 * SECOND
    if is_swept:
        await store.sweep(now_us=over, limit=10)
    with pytest.raises(ReplayGoneError):
        await store.change(create("id-2", "key", at_us=over, ttl_seconds=10))


async def test_a_refused_change_takes_no_others_with_it(store: MemoryStore) -> None:
    results = await asyncio.gather(
        *(put(store, f"k{n}") for n in range(10)),
        put(store, "bad", condition=Condition(must_exist=True)),
        *(put(store, f"j{n}") for n in range(10)),
        return_exceptions=True,
    )
    assert [type(one) for one in results if not isinstance(one, Written)] == [VersionError]
    assert len(await ids(store)) == 20
    assert (await store.stats()).rows == 20


async def test_the_probe_passes_and_stats_count(store: MemoryStore) -> None:
    await store.probe()
    await put(store)
    stats = await store.stats()
    assert stats.rows == 1
    assert stats.size_bytes > 0
