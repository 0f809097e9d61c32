"""What the agent believes of one instance and does next (pure): every fact is an event, every event a new state.

Invariants: an instance is registered or renewed only while it is healthy and the agent is not stopping; a lease that
is held is given back when it no longer may be; what the registry did not confirm is tried again, at most once a
`RETRY_S`.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from ragrid.registry.protocol import Lease

#: Pause after a registry call failed, seconds.
RETRY_S = 1.0
#: A lease is renewed after this part of its time, so that two renewals may fail before it ends.
RENEW_RATIO = 1 / 3
#: An instance that is not healthy, or whose last check failed, is looked at at least this often, seconds.
WAITED_FOR_EVERY_S = 0.5
#: An instance that another agent holds is looked for this often, seconds: when it is gone, it is ours.
OBSERVE_EVERY_S = 2.0
#: Where nothing is due, we look again after this long all the same, seconds.
IDLE_S = 60.0


class Health(StrEnum):
    """Whether an instance works; unknown until `rise` checks passed or `fall` failed in a row."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class Action(StrEnum):
    """What to ask of the registry now."""

    NONE = "none"
    REGISTER = "register"
    RENEW = "renew"
    DEREGISTER = "deregister"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check saw; `error` is empty when it passed. `answered` tells a wrong answer from none at all."""

    error: str
    took_s: float
    answered: bool = True

    @property
    def passed(self) -> bool:
        """Whether the instance did what the check asked."""
        return not self.error


@dataclass(frozen=True, slots=True)
class Rules:
    """How many results in a row change the verdict, and whether the instance belongs into the registry at all."""

    rise: int = 1
    fall: int = 2
    register: bool = True


@dataclass(frozen=True, slots=True)
class State:
    """One instance. `since_s` and `checked_s` are wall-clock time, `renew_s` and `retry_s` monotonic.

    `owner` is another agent, under whose lease the instance was found.
    """

    health: Health = Health.UNKNOWN
    since_s: float = 0.0
    passes: int = 0
    failures: int = 0
    checked_s: float | None = None
    last: CheckResult | None = None
    last_error: str = ""
    lease: Lease | None = None
    renew_s: float = 0.0
    retry_s: float = 0.0
    is_stopping: bool = False
    owner: str = ""


def checked(state: State, result: CheckResult, rules: Rules, *, now_s: float) -> State:
    """Return the state after a check ended at wall-clock time `now_s`."""
    passes = state.passes + 1 if result.passed else 0
    failures = 0 if result.passed else state.failures + 1
    health = state.health
    if passes >= rules.rise:
        health = Health.HEALTHY
    elif failures >= rules.fall:
        health = Health.UNHEALTHY
    return replace(
        state,
        health=health,
        since_s=state.since_s if health == state.health and state.checked_s is not None else now_s,
        passes=passes,
        failures=failures,
        checked_s=now_s,
        last=result,
        last_error=result.error or state.last_error,
        owner=state.owner if health == Health.HEALTHY else "",
    )


def check_interval_s(state: State, *, usual_s: float) -> float:
    """Return how long after the last check began the next one begins, seconds."""
    is_well = state.health == Health.HEALTHY and not state.failures
    return usual_s if is_well else min(usual_s, WAITED_FOR_EVERY_S)


def next_action(state: State, rules: Rules, *, now_s: float) -> Action:
    """Return what to ask of the registry at monotonic time `now_s`."""
    if now_s < state.retry_s:
        return Action.NONE
    if not _is_wanted(state, rules):
        return Action.NONE if state.lease is None else Action.DEREGISTER
    if state.lease is None:
        return Action.REGISTER
    return Action.RENEW if now_s >= state.renew_s else Action.NONE


def wait_s(state: State, rules: Rules, *, now_s: float) -> float:
    """Return after how many seconds there may be something to do although no event came."""
    if next_action(state, rules, now_s=now_s) != Action.NONE:
        return 0.0
    if now_s < state.retry_s:
        return state.retry_s - now_s
    if state.lease is not None and _is_wanted(state, rules):
        return max(0.0, state.renew_s - now_s)
    return IDLE_S


def held(state: State, lease: Lease, *, now_s: float) -> State:
    """Return the state after the registry granted or renewed `lease` at monotonic time `now_s`."""
    return replace(state, lease=lease, renew_s=now_s + lease.ttl_s * RENEW_RATIO, retry_s=0.0, owner="")


def owned_elsewhere(state: State, owner: str, *, now_s: float) -> State:
    """Return the state after the instance was found under the lease of another agent: observe, do not register."""
    return replace(state, owner=owner, retry_s=now_s + OBSERVE_EVERY_S)


def released(state: State) -> State:
    """Return the state after the lease was given back, or the registry said that it had ended: free to register."""
    return replace(state, lease=None, retry_s=0.0)


def registry_failed(state: State, *, now_s: float) -> State:
    """Return the state after a registry call failed: nothing is known about its effect, so it will be made again."""
    return replace(state, retry_s=now_s + RETRY_S)


def stopping(state: State) -> State:
    """Return the state after the agent was told to stop: a lease is given back at once, nothing is registered."""
    return replace(state, is_stopping=True, retry_s=0.0)


def _is_wanted(state: State, rules: Rules) -> bool:
    return rules.register and state.health == Health.HEALTHY and not state.is_stopping
