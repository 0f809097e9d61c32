"""When a part is restarted, when it is waited for, and when it is given up."""

import pytest

from ragrid.agent.restarts import (
    LONGEST_PAUSE_S,
    STEADY_S,
    Record,
    Verdict,
    health_of,
    is_due,
    looked,
    restarted,
    verdict,
)
from ragrid.agent.state import CheckResult, Health, State
from ragrid.spec.settings import RestartRules

RULES = RestartRules(part="memory", after_s=20.0, start_s=120.0, attempts=3)
#: Wall-clock time is monotonic time plus this, in these tests.
WALL_S = 1_800_000_000.0


def seen(record: Record, health: Health, now_s: float) -> Record:
    return looked(record, health, now_s=now_s, wall_s=WALL_S + now_s)


WORKED = seen(Record(), Health.HEALTHY, 100.0)


@pytest.mark.parametrize(("now_s", "due"), [(110.0, False), (129.9, False), (130.0, True)])
def test_it_must_have_failed_for_long_enough_without_a_pass(now_s: float, due: bool) -> None:
    failing = seen(WORKED, Health.UNHEALTHY, 110.0)
    assert is_due(failing, RULES, now_s=now_s) is due
    assert not is_due(seen(failing, Health.HEALTHY, now_s), RULES, now_s=now_s)
    assert not is_due(WORKED, RULES, now_s=now_s)


def test_what_is_not_known_yet_is_not_failing() -> None:
    assert seen(Record(), Health.UNKNOWN, 100.0) == Record()


@pytest.mark.parametrize(
    ("started_s", "wanted"),
    [
        (50.0, Verdict.RESTART),  # it worked since it was started, and no longer does
        (105.0, Verdict.WAIT),  # the supervisor started it anew after it last worked: it may be loading
        (10.0, Verdict.RESTART),
    ],
)
def test_a_process_that_has_not_worked_since_its_start_gets_its_time(started_s: float, wanted: Verdict) -> None:
    failing = seen(WORKED, Health.UNHEALTHY, 110.0)
    assert verdict(failing, RULES, started_s=WALL_S + started_s, wall_s=WALL_S + 135.0) == wanted


@pytest.mark.parametrize(
    ("answered", "only_silent", "wanted"),
    [
        (False, True, Health.UNHEALTHY),
        (True, True, Health.UNKNOWN),
        (True, False, Health.UNHEALTHY),
        (False, False, Health.UNHEALTHY),
    ],
)
def test_who_says_that_it_cannot_is_alive(*, answered: bool, only_silent: bool, wanted: Health) -> None:
    rules = RestartRules(part="rag", only_silent=only_silent)
    state = State(health=Health.UNHEALTHY, last=CheckResult("got status 503", 0.1, answered))
    assert health_of(state, rules) == wanted
    assert health_of(State(health=Health.HEALTHY), rules) == Health.HEALTHY


def test_a_process_that_never_worked_is_restarted_once_its_time_is_over() -> None:
    failing = seen(Record(), Health.UNHEALTHY, 100.0)
    assert verdict(failing, RULES, started_s=WALL_S + 90.0, wall_s=WALL_S + 209.0) == Verdict.WAIT
    assert verdict(failing, RULES, started_s=WALL_S + 90.0, wall_s=WALL_S + 210.0) == Verdict.RESTART


def test_pauses_double_up_to_a_limit_and_then_it_is_given_up() -> None:
    record, now_s, pauses = seen(WORKED, Health.UNHEALTHY, 200.0), 220.0, []
    while verdict(record, RULES, started_s=WALL_S, wall_s=WALL_S + now_s) == Verdict.RESTART:
        assert is_due(record, RULES, now_s=now_s)
        record = restarted(record, RULES, now_s=now_s)
        pauses.append(record.not_before_s - now_s)
        assert not is_due(record, RULES, now_s=record.not_before_s - 0.1)
        now_s = record.not_before_s
    assert pauses == [40.0, 80.0, 160.0]
    assert verdict(record, RULES, started_s=WALL_S, wall_s=WALL_S + now_s) == Verdict.GIVE_UP
    patient = RestartRules(part="vllm", after_s=200.0)
    assert restarted(record, patient, now_s=0.0).not_before_s == LONGEST_PAUSE_S


def test_attempts_count_on_through_a_short_recovery_and_are_forgotten_after_a_lasting_one() -> None:
    record = restarted(seen(WORKED, Health.UNHEALTHY, 200.0), RULES, now_s=220.0)
    record = seen(record, Health.HEALTHY, 230.0)
    assert seen(record, Health.HEALTHY, 229.0 + STEADY_S).attempts == 1
    assert seen(record, Health.HEALTHY, 230.0 + STEADY_S).attempts == 0
    flapping = seen(seen(record, Health.UNHEALTHY, 240.0), Health.HEALTHY, 250.0)
    assert seen(flapping, Health.HEALTHY, 240.0 + STEADY_S).attempts == 1
