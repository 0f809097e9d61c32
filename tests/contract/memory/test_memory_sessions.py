"""Sessions mean the same in every store."""

import asyncio
from typing import Any

import msgspec
import pytest

from ragrid.services.memory.changes import Condition, Idempotency, Scope
from ragrid.services.memory.errors import KeyReusedError, NoSessionError, ReplayGoneError, VersionError
from ragrid.services.memory.messages import Append, Appended, AppendRequest, MessageInput
from ragrid.services.memory.protocol.sessions import Order
from ragrid.services.memory.protocol.store import MemoryStore
from ragrid.services.memory.working_state import PutState, ReadState, StateInput

ACME = Scope("acme", "default")
ELSEWHERE = [Scope("evil", "default"), Scope("acme", "other")]
NOW = 1_800_000_000_000_000
SECOND = 1_000_000


async def say(
    store: MemoryStore,
    *contents: str,
    session: str = "s",
    scope: Scope = ACME,
    at_us: int = NOW,
    after: int | None = None,
    ttl_s: int | None = None,
    key: Idempotency | None = None,
) -> Appended:
    messages = tuple(MessageInput(role="user", content=one) for one in contents)
    given = AppendRequest(messages=messages, after=after, ttl_seconds=ttl_s)
    return await store.append(Append(scope, session, "alice", at_us, given, key))


async def told(
    store: MemoryStore, *, session: str = "s", scope: Scope = ACME, now_us: int = NOW, order: Order = "oldest"
) -> list[str] | None:
    page = await store.messages(scope, session, now_us=now_us, limit=200, order=order)
    return None if page is None else [msgspec.json.decode(doc)["content"] for doc in page.docs]


async def put(
    store: MemoryStore,
    data: dict[str, Any],
    *,
    scope: Scope = ACME,
    at_us: int = NOW,
    ttl_s: int | None = None,
    condition: Condition | None = None,
) -> ReadState:
    given = StateInput(data=data, ttl_seconds=ttl_s)
    return await store.put_state(PutState(scope, "s", "alice", at_us, given, condition or Condition()))


async def state(store: MemoryStore, *, now_us: int = NOW, scope: Scope = ACME) -> Any:
    found = await store.state(scope, "s", now_us=now_us)
    return None if found is None else msgspec.json.decode(found.doc)["data"]


async def test_messages_come_back_as_they_were_answered_in_their_order(store: MemoryStore) -> None:
    assert await told(store) is None
    first = await say(store, "one", "two")
    second = await say(store, "three")
    assert (first.last_index, second.last_index) == (2, 3)
    page = await store.messages(ACME, "s", now_us=NOW, limit=10, order="oldest")
    assert page is not None
    assert (page.docs, page.next_index) == ((*first.docs, *second.docs), None)
    doc = msgspec.json.decode(page.docs[0])
    assert (doc["index"], doc["role"], doc["created_by"], doc["session_id"]) == (1, "user", "alice", "s")


async def test_pages_lead_through_all_messages_in_both_orders(store: MemoryStore) -> None:
    contents = [str(number) for number in range(7)]
    await say(store, *contents)
    for order, wanted in (("oldest", contents), ("newest", contents[::-1])):
        seen: list[str] = []
        beyond: int | None = None
        while True:
            page = await store.messages(ACME, "s", now_us=NOW, limit=3, order=order, beyond=beyond)  # type: ignore[arg-type]  # both literals
            assert page is not None
            seen += [msgspec.json.decode(doc)["content"] for doc in page.docs]
            beyond = page.next_index
            if beyond is None:
                break
        assert seen == wanted


async def test_an_append_after_a_message_that_is_not_the_last_is_refused(store: MemoryStore) -> None:
    await say(store, "one", after=0)
    with pytest.raises(VersionError) as refusal:
        await say(store, "two", after=0)
    assert refusal.value.current_version == 1
    await say(store, "two", after=1)
    assert await told(store) == ["one", "two"]


async def test_of_many_appends_after_one_message_exactly_one_is_made(store: MemoryStore) -> None:
    results = await asyncio.gather(*(say(store, str(n), after=0) for n in range(64)), return_exceptions=True)
    assert sum(isinstance(one, Appended) for one in results) == 1
    assert sum(isinstance(one, VersionError) for one in results) == 63
    everyone = await asyncio.gather(*(say(store, str(n)) for n in range(64)))
    assert sorted(one.last_index for one in everyone) == list(range(2, 66))


async def test_the_same_append_with_a_key_adds_once(store: MemoryStore) -> None:
    key = Idempotency("k", b"1")
    first = await say(store, "one", "two", key=key)
    again = await say(store, "one", "two", key=key)
    assert (again.docs, again.is_replay, first.is_replay) == (first.docs, True, False)
    with pytest.raises(KeyReusedError):
        await say(store, "other", key=Idempotency("k", b"2"))
    assert await told(store) == ["one", "two"]
    later = await say(store, "three", key=key, at_us=NOW + 86_400 * SECOND)
    assert not later.is_replay


@pytest.mark.parametrize("end", ["expired", "deleted"])
async def test_a_replay_shows_nothing_that_is_gone(store: MemoryStore, end: str) -> None:
    key = Idempotency("k", b"1")
    await say(store, "secret", key=key, ttl_s=10)
    if end == "deleted":
        await store.delete_session(ACME, "s")
    with pytest.raises(ReplayGoneError):
        await say(store, "secret", key=key, at_us=NOW + (10 * SECOND if end == "expired" else 0))


async def test_messages_expire_at_the_very_microsecond_and_leave_gaps(store: MemoryStore) -> None:
    await say(store, "stays")
    await say(store, "goes", ttl_s=10)
    await say(store, "stays too")
    over = NOW + 10 * SECOND
    assert await told(store, now_us=over - 1) == ["stays", "goes", "stays too"]
    assert await told(store, now_us=over) == ["stays", "stays too"]
    assert await store.sweep_sessions(now_us=over, limit=10) == 1
    assert await told(store, now_us=NOW) == ["stays", "stays too"]
    assert (await say(store, "four")).last_index == 4


async def test_a_state_has_versions_and_conditions(store: MemoryStore) -> None:
    first = await put(store, {"step": 1}, condition=Condition(must_be_absent=True))
    assert (first.version, first.is_new) == (1, True)
    with pytest.raises(VersionError) as refusal:
        await put(store, {"step": 2}, condition=Condition(versions=frozenset({7})))
    assert refusal.value.current_version == 1
    second = await put(store, {"step": 2}, condition=Condition(versions=frozenset({1})))
    assert (second.version, second.is_new) == (2, False)
    with pytest.raises(VersionError):
        await put(store, {}, condition=Condition(must_be_absent=True))
    read = await store.state(ACME, "s", now_us=NOW)
    assert read is not None
    assert (read.version, read.doc) == (2, second.doc)


async def test_of_many_writers_of_a_state_exactly_one_wins(store: MemoryStore) -> None:
    await put(store, {"by": "nobody"})
    condition = Condition(versions=frozenset({1}))
    results = await asyncio.gather(
        *(put(store, {"by": n}, condition=condition) for n in range(64)), return_exceptions=True
    )
    assert sum(isinstance(one, ReadState) for one in results) == 1
    assert sum(isinstance(one, VersionError) for one in results) == 63


async def test_the_time_of_a_state_slides_with_puts_and_appends_alone(store: MemoryStore) -> None:
    await put(store, {"a": 1}, ttl_s=10)
    assert await state(store, now_us=NOW + 9 * SECOND) == {"a": 1}
    assert await state(store, now_us=NOW + 10 * SECOND) is None
    await say(store, "still here", at_us=NOW + 5 * SECOND)
    assert await state(store, now_us=NOW + 15 * SECOND - 1) == {"a": 1}
    assert await state(store, now_us=NOW + 15 * SECOND) is None
    read = await store.state(ACME, "s", now_us=NOW)
    assert read is not None
    assert read.version == 1  # time is not a new version


async def test_an_append_does_not_bring_an_expired_state_back(store: MemoryStore) -> None:
    await put(store, {"a": 1}, ttl_s=10)
    await say(store, "late", at_us=NOW + 10 * SECOND)
    assert await state(store, now_us=NOW + 10 * SECOND) is None
    again = await put(store, {"a": 2}, at_us=NOW + 11 * SECOND, condition=Condition(must_be_absent=True))
    assert (again.version, again.is_new) == (2, True)


async def test_a_sweep_erases_a_state_and_its_versions_go_on(store: MemoryStore) -> None:
    await put(store, {"a": 1}, ttl_s=10)
    await store.sweep_sessions(now_us=NOW + 10 * SECOND, limit=10)
    assert await state(store, now_us=NOW) is None
    assert (await put(store, {"a": 2})).version == 2


async def test_a_deleted_session_is_gone_and_its_counters_go_on(store: MemoryStore) -> None:
    await say(store, "one")
    await put(store, {"a": 1})
    await store.delete_session(ACME, "s")
    assert await told(store) is None
    assert await state(store) is None
    with pytest.raises(NoSessionError):
        await store.delete_session(ACME, "s")
    assert (await say(store, "again")).last_index == 2
    assert await told(store) == ["again"]
    assert await state(store) is None
    assert (await put(store, {"a": 2})).version == 2


async def test_nothing_of_a_session_crosses_the_walls(store: MemoryStore) -> None:
    key = Idempotency("k", b"1")
    await say(store, "secret", key=key)
    await put(store, {"secret": 1})
    for scope in ELSEWHERE:
        assert await told(store, scope=scope) is None
        assert await state(store, scope=scope) is None
        with pytest.raises(NoSessionError):
            await store.delete_session(scope, "s")
    other = await say(store, "mine", scope=ELSEWHERE[0], key=key)
    assert (other.is_replay, other.last_index) == (False, 1)
    assert await told(store) == ["secret"]


async def test_the_sessions_of_a_deleted_namespace_are_gone(store: MemoryStore) -> None:
    await say(store, "secret", key=Idempotency("k", b"1"))
    await put(store, {"secret": 1})
    await store.delete_namespace(ACME)
    assert await told(store) is None
    assert await state(store) is None
    while await store.sweep(now_us=NOW, limit=100):
        pass
    again = await say(store, "anew", key=Idempotency("k", b"1"))
    assert (again.is_replay, again.last_index) == (False, 1)
    assert await told(store) == ["anew"]


async def test_sessions_are_listed_by_id_as_long_as_there_is_something_of_them(store: MemoryStore) -> None:
    for name in ("b", "a", "B", "~", "gone"):
        await say(store, "hi", session=name)
    await store.delete_session(ACME, "gone")
    await put(store, {"a": 1}, ttl_s=10)
    await say(store, "foreign", session="c", scope=ELSEWHERE[0])
    await say(store, "foreign", session="c", scope=ELSEWHERE[1])
    first = await store.sessions(ACME, now_us=NOW, limit=3)
    rest = await store.sessions(ACME, now_us=NOW, limit=9, after=first[-1].id)
    listed = [(one.id, one.last_index, one.state_version) for one in (*first, *rest)]
    assert listed == [("B", 1, None), ("a", 1, None), ("b", 1, None), ("s", 0, 1), ("~", 1, None)]
    later = await store.sessions(ACME, now_us=NOW + 10 * SECOND, limit=1, after="b")
    assert [(one.id, one.state_version) for one in later] == [("s", None)]
