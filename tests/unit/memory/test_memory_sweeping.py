"""A clock set wrong hides and shows, and erases nothing before its time."""

import pytest

from ragrid.services.memory.changes import Create, Scope
from ragrid.services.memory.inmemory.store import InMemoryStore
from ragrid.services.memory.model import MemoryInput
from ragrid.services.memory.sweeping import DRIFT_S, SteadyTime, sweep
from ragrid.system.clock import ManualClock

HOUR_S = 3600.0
SCOPE = Scope("t", "default")


def now_us(clock: ManualClock) -> int:
    return int(clock.now_s() * 1_000_000)


async def store_with_one(clock: ManualClock, *, ttl_seconds: int) -> InMemoryStore:
    store = InMemoryStore()
    given = MemoryInput(content="lunch at noon", ttl_seconds=ttl_seconds)
    await store.change(Create(SCOPE, "lunch", "ada", now_us(clock), given))
    return store


async def is_there(store: InMemoryStore, clock: ManualClock) -> bool:
    return await store.read(SCOPE, "lunch", now_us=now_us(clock)) is not None


async def test_an_hour_ahead_and_back_erases_nothing_that_had_not_expired() -> None:
    clock = ManualClock()
    store, time = await store_with_one(clock, ttl_seconds=1800), SteadyTime(clock)
    clock.step_wall(HOUR_S)
    await sweep(store, time)
    assert not await is_there(store, clock)
    clock.step_wall(-HOUR_S)
    assert await is_there(store, clock)


async def test_an_hour_back_keeps_a_memory_until_the_clock_says_its_time_is_over() -> None:
    clock = ManualClock()
    store, time = await store_with_one(clock, ttl_seconds=1800), SteadyTime(clock)
    clock.step_wall(-HOUR_S)
    clock.advance(1801)
    await sweep(store, time)
    clock.step_wall(HOUR_S)
    assert not await is_there(store, clock)
    await sweep(store, time)
    clock.step_wall(-HOUR_S)
    assert not await is_there(store, clock)


async def test_after_a_jump_that_stays_the_sweep_comes_that_much_later() -> None:
    clock = ManualClock()
    time = SteadyTime(clock)
    clock.step_wall(HOUR_S)
    store = await store_with_one(clock, ttl_seconds=100)
    clock.advance(101)
    await sweep(store, time)
    clock.step_wall(-2)  # shows it again, because it is still there
    assert await is_there(store, clock)
    clock.advance(HOUR_S - DRIFT_S)
    await sweep(store, time)
    clock.step_wall(-HOUR_S)
    assert not await is_there(store, clock)


async def test_small_steps_are_followed_at_once() -> None:
    clock = ManualClock()
    time = SteadyTime(clock)
    clock.step_wall(DRIFT_S / 2)
    assert time.now_us() == now_us(clock)


async def test_a_fault_of_ours_ends_one_sweep_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    store, time = await store_with_one(clock, ttl_seconds=1), SteadyTime(clock)
    clock.advance(2)
    with monkeypatch.context() as broken:
        broken.setattr(store, "sweep", None)
        await sweep(store, time)
    assert (await store.stats()).rows == 1
    await sweep(store, time)
    assert (await store.stats()).rows == 0
