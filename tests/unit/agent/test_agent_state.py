"""The agent's decisions, at every point where something can go wrong between asking and knowing."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragrid.agent.state import (
    IDLE_S,
    RETRY_S,
    Action,
    CheckResult,
    Health,
    Rules,
    State,
    check_interval_s,
    checked,
    held,
    next_action,
    registry_failed,
    released,
    stopping,
    wait_s,
)
from ragrid.registry.protocol import Instance, Lease

RULES = Rules(rise=2, fall=3)
PASS, FAIL = CheckResult("", 0.01), CheckResult("got status 503", 0.02)
LEASE = Lease("7", Instance("memory", "memory-sark", "127.0.0.1", 3000), 9.0)


def after(results: str, state: State | None = None, rules: Rules = RULES) -> State:
    """The state after checks that passed (+) or failed (-), a second apart."""
    state = state or State()
    for number, result in enumerate(results):
        state = checked(state, PASS if result == "+" else FAIL, rules, now_s=1000.0 + number)
    return state


@pytest.mark.parametrize(
    ("results", "health", "since_s"),
    [
        ("", Health.UNKNOWN, 0.0),
        ("+", Health.UNKNOWN, 1000.0),
        ("++", Health.HEALTHY, 1001.0),
        ("+++", Health.HEALTHY, 1001.0),
        ("++--", Health.HEALTHY, 1001.0),
        ("++--+--", Health.HEALTHY, 1001.0),
        ("++---", Health.UNHEALTHY, 1004.0),
        ("++----", Health.UNHEALTHY, 1004.0),
        ("--", Health.UNKNOWN, 1000.0),
        ("---", Health.UNHEALTHY, 1002.0),
        ("---+", Health.UNHEALTHY, 1002.0),
        ("---+-+-+", Health.UNHEALTHY, 1002.0),
        ("---++", Health.HEALTHY, 1004.0),
    ],
)
def test_health_changes_only_after_enough_results_in_a_row(results: str, health: Health, since_s: float) -> None:
    state = after(results)
    assert (state.health, state.since_s) == (health, since_s)


def test_last_error_stays_after_recovery_and_last_result_does_not() -> None:
    state = after("---++")
    assert state.last_error == "got status 503"
    assert state.last == PASS


HEALTHY, UNHEALTHY = after("++"), after("---")
HELD = held(HEALTHY, LEASE, now_s=100.0)


@pytest.mark.parametrize(
    ("state", "now_s", "action"),
    [
        (State(), 100.0, Action.NONE),
        (UNHEALTHY, 100.0, Action.NONE),
        (HEALTHY, 100.0, Action.REGISTER),
        (HELD, 100.0, Action.NONE),
        (HELD, 102.9, Action.NONE),
        (HELD, 103.0, Action.RENEW),
        (HELD, 500.0, Action.RENEW),
        (after("---", HELD), 100.0, Action.DEREGISTER),
        (stopping(HELD), 100.0, Action.DEREGISTER),
        (stopping(HEALTHY), 100.0, Action.NONE),
        (released(HELD), 100.0, Action.REGISTER),  # the lease was lost while the instance works
        (released(after("---", HELD)), 100.0, Action.NONE),
        # every registry call may fail, with its effect unknown: it is made again, after a pause
        (registry_failed(HEALTHY, now_s=100.0), 100.9, Action.NONE),
        (registry_failed(HEALTHY, now_s=100.0), 101.0, Action.REGISTER),
        (registry_failed(HELD, now_s=103.0), 104.0, Action.RENEW),
        (registry_failed(after("---", HELD), now_s=103.0), 104.0, Action.DEREGISTER),
        # and the world goes on meanwhile
        (after("---", registry_failed(HELD, now_s=103.0)), 103.5, Action.NONE),
        (after("---", registry_failed(HELD, now_s=103.0)), 104.0, Action.DEREGISTER),
        (after("++", registry_failed(after("---", HELD), now_s=103.0)), 104.0, Action.RENEW),
        (stopping(registry_failed(HELD, now_s=103.0)), 103.0, Action.DEREGISTER),
    ],
)
def test_next_action(state: State, now_s: float, action: Action) -> None:
    assert next_action(state, RULES, now_s=now_s) == action


def test_instance_that_is_not_healthy_is_looked_at_more_often() -> None:
    doubted = after("++-")  # healthy still, and its last check failed
    intervals = [check_interval_s(state, usual_s=2.0) for state in (HEALTHY, UNHEALTHY, State(), doubted)]
    assert intervals == [2.0, 0.5, 0.5, 0.5]
    assert check_interval_s(UNHEALTHY, usual_s=0.2) == 0.2


def test_instance_that_is_not_to_be_registered_never_is() -> None:
    rules = dataclasses.replace(RULES, register=False)
    assert next_action(after("++", rules=rules), rules, now_s=100.0) == Action.NONE


@pytest.mark.parametrize(
    ("state", "now_s", "waits_s"),
    [
        (State(), 100.0, IDLE_S),
        (UNHEALTHY, 100.0, IDLE_S),
        (HEALTHY, 100.0, 0.0),
        (HELD, 101.0, 2.0),
        (HELD, 200.0, 0.0),
        (released(HELD), 100.0, 0.0),
        (registry_failed(HELD, now_s=103.0), 103.0, RETRY_S),
    ],
)
def test_wait_ends_when_there_is_something_to_do(state: State, now_s: float, waits_s: float) -> None:
    assert wait_s(state, RULES, now_s=now_s) == waits_s


class World:
    """A registry that may fail before or after a call took effect, and one instance's agent."""

    def __init__(self) -> None:
        self.state = State()
        self.now_s = 0.0
        self.leases = 0
        self.visible: tuple[str, float] | None = None  # lease id, end

    def check(self, *, passes: bool) -> None:
        self.state = checked(self.state, PASS if passes else FAIL, RULES, now_s=self.now_s)

    def advance(self, seconds: float) -> None:
        self.now_s += seconds
        if self.visible and self.visible[1] <= self.now_s:
            self.visible = None

    def step(self, *, outcome: str) -> None:
        """One registry call; `outcome` is ok, lost (took effect, answer lost) or dead (never arrived)."""
        action = next_action(self.state, RULES, now_s=self.now_s)
        if action == Action.NONE:
            return
        answer = self._take_effect(action) if outcome != "dead" else None
        self.state = registry_failed(self.state, now_s=self.now_s) if outcome != "ok" or answer is None else answer

    def _take_effect(self, action: Action) -> State:
        lease = self.state.lease
        if action == Action.REGISTER:
            self.leases += 1
            lease = dataclasses.replace(LEASE, lease_id=str(self.leases))
            self.visible = (lease.lease_id, self.now_s + lease.ttl_s)
            return held(self.state, lease, now_s=self.now_s)
        assert lease is not None
        holds = self.visible is not None and self.visible[0] == lease.lease_id
        if action == Action.RENEW and holds:
            self.visible = (lease.lease_id, self.now_s + lease.ttl_s)
            return held(self.state, lease, now_s=self.now_s)
        if action == Action.DEREGISTER and holds:
            self.visible = None
        return released(self.state)


EVENTS = st.one_of(
    st.tuples(st.just("check"), st.booleans()),
    st.tuples(st.just("step"), st.sampled_from(["ok", "lost", "dead"])),
    st.tuples(st.just("advance"), st.sampled_from([0.3, 1.0, 3.0, 12.0])),
    st.tuples(st.just("wiped"), st.none()),
)


@given(st.lists(EVENTS, max_size=60), st.booleans())
def test_whatever_happened_the_registry_ends_up_saying_the_truth(events: list[tuple[str, object]], works: bool) -> None:
    world = World()
    for kind, value in events:
        if kind == "check":
            world.check(passes=bool(value))
        elif kind == "step":
            world.step(outcome=str(value))
        elif kind == "advance":
            world.advance(float(str(value)))
        else:
            world.visible = None
    for _ in range(20):  # then the instance and the registry stay as they are, for a little more than a lease
        world.check(passes=works)
        world.step(outcome="ok")
        world.advance(0.5)
    world.step(outcome="ok")
    assert (world.visible is not None) == works
    assert (world.state.lease is not None) == works


@given(st.lists(EVENTS, max_size=60))
def test_nothing_is_registered_or_renewed_unless_it_is_healthy(events: list[tuple[str, object]]) -> None:
    world = World()
    for kind, value in events:
        if kind == "check":
            world.check(passes=bool(value))
        elif kind == "step":
            action = next_action(world.state, RULES, now_s=world.now_s)
            if action in (Action.REGISTER, Action.RENEW):
                assert world.state.health == Health.HEALTHY
            if action in (Action.RENEW, Action.DEREGISTER):
                assert world.state.lease is not None
            world.step(outcome=str(value))
        elif kind == "advance":
            world.advance(float(str(value)))
