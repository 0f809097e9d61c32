"""When a part that its check fails on is started again, and when that is given up (pure).

The supervisor restarts what ends; this is for what hangs, or answers wrongly for ever. Invariants: a part is restarted
only after it failed for `after_s` without a pass; one that has not worked since its start gets `start_s` first, because
a model is read for minutes; pauses double; after `attempts` restarts without lasting success it is left alone.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from ragrid.agent.state import Health, State
from ragrid.spec.settings import RestartRules

#: A part that has worked for this long without a break has been mended: its attempts count no more, seconds.
STEADY_S = 300.0
#: Longest pause between two restarts, seconds.
LONGEST_PAUSE_S = 600.0


class Verdict(StrEnum):
    """What to do about a part now."""

    WAIT = "wait"
    RESTART = "restart"
    GIVE_UP = "give up"


@dataclass(frozen=True, slots=True)
class Record:
    """How a part has done. `worked_s` is wall-clock time, when it was last seen working; the others are monotonic."""

    failing_since_s: float | None = None
    working_since_s: float | None = None
    worked_s: float | None = None
    attempts: int = 0
    not_before_s: float = 0.0


def health_of(state: State, rules: RestartRules) -> Health:
    """Return the health of an instance as far as a restart may mend it: who answers that it cannot is alive."""
    if state.health == Health.UNHEALTHY and rules.only_silent and state.last is not None and state.last.answered:
        return Health.UNKNOWN
    return state.health


def looked(record: Record, health: Health, *, now_s: float, wall_s: float) -> Record:
    """Return the record after a look at monotonic time `now_s`, wall-clock time `wall_s`."""
    if health == Health.UNKNOWN:
        return replace(record, failing_since_s=None, working_since_s=None)
    if health == Health.UNHEALTHY:
        since_s = now_s if record.failing_since_s is None else record.failing_since_s
        return replace(record, failing_since_s=since_s, working_since_s=None)
    since_s = now_s if record.working_since_s is None else record.working_since_s
    attempts = 0 if now_s - since_s >= STEADY_S else record.attempts
    return replace(record, failing_since_s=None, working_since_s=since_s, worked_s=wall_s, attempts=attempts)


def is_due(record: Record, rules: RestartRules, *, now_s: float) -> bool:
    """Whether the part has failed for long enough to ask the supervisor about it."""
    if record.failing_since_s is None or now_s < record.not_before_s:
        return False
    return now_s - record.failing_since_s >= rules.after_s


def verdict(record: Record, rules: RestartRules, *, started_s: float, wall_s: float) -> Verdict:
    """Return what to do about a part that `is_due`, whose process was started at wall-clock time `started_s`."""
    if record.attempts >= rules.attempts:
        return Verdict.GIVE_UP
    has_worked = record.worked_s is not None and record.worked_s > started_s
    if not has_worked and wall_s - started_s < rules.start_s:
        return Verdict.WAIT
    return Verdict.RESTART


def restarted(record: Record, rules: RestartRules, *, now_s: float) -> Record:
    """Return the record after the part was restarted at monotonic time `now_s`."""
    attempts = record.attempts + 1
    pause_s = min(rules.after_s * 2.0**attempts, LONGEST_PAUSE_S)
    return replace(record, failing_since_s=now_s, attempts=attempts, not_before_s=now_s + pause_s)
