"""When a token is to be renewed (pure): early, not everybody at once, and again and again while it fails."""

from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

#: A token is renewed at a point of its life between these two, drawn for each: programs that were started together do
#: not ask together, and a token service that is away for a quarter of the life is noticed by nobody.
EARLIEST, LATEST = 0.5, 0.75
#: A token is not used in the last moment of its life, seconds (or a quarter of the life, if that is less): the request
#: takes its time, and tokens carry whole seconds.
SPARE_S = 5.0
#: The first pause after a failed renewal, and the longest, seconds; each is twice the one before.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
#: A token that is refused so soon after it was asked for is not asked for again, seconds: its key was not withdrawn.
REFUSED_YOUNG_S = 10.0


@dataclass(frozen=True, slots=True)
class Held:
    """A token, until when it may be used and from when it is to be renewed. Times are monotonic seconds."""

    access_token: str = field(repr=False)
    asked_s: float
    ends_s: float
    renew_at_s: float
    failures: int = 0

    def is_good(self, now_s: float) -> bool:
        """Return whether it may still be used."""
        return now_s < self.ends_s

    def is_fresh(self, now_s: float) -> bool:
        """Return whether there is nothing to do yet."""
        return now_s < min(self.renew_at_s, self.ends_s)

    def put_off(self, now_s: float, *, chance: float) -> "Held":
        """Return the same after a renewal that failed; `chance` (0 to 1) takes up to a half off the pause."""
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self.failures, 16)) * (1 - chance / 2)
        return replace(self, renew_at_s=now_s + pause_s, failures=self.failures + 1)


@runtime_checkable
class Renewable(Protocol):
    """A source of tokens that can do something about one that was refused."""

    def forget(self, access_token: str) -> bool:
        """Hear that a token was refused (401); return whether asking now gives another one."""
        ...


def after_refusal(held: Held | None, access_token: str, *, now_s: float) -> tuple[Held | None, bool]:
    """Return what to hold after a token was refused, and whether there is, or can be had, another."""
    if held is None or held.access_token != access_token:
        return held, True
    return (held, False) if now_s < held.asked_s + REFUSED_YOUNG_S else (None, True)


def hold(access_token: str, life_s: float, *, asked_s: float, chance: float) -> Held:
    """Return a token that was asked for at `asked_s`; `chance` (0 to 1) says where in its span it is renewed."""
    renew_at_s = asked_s + life_s * (EARLIEST + (LATEST - EARLIEST) * chance)
    return Held(access_token, asked_s, asked_s + life_s - min(SPARE_S, life_s / 4), renew_at_s)
