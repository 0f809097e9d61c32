"""When a token is to be renewed (pure): early, not everybody at once, and again and again while it fails."""

from dataclasses import dataclass, field, replace

#: A token is renewed at a point of its life between these two, drawn for each: programs that were started together do
#: not ask together, and a token service that is away for a quarter of the life is noticed by nobody.
EARLIEST, LATEST = 0.5, 0.75
#: A token is not used in the last moment of its life, seconds (or a quarter of the life, if that is less): the request
#: takes its time, and tokens carry whole seconds.
SPARE_S = 5.0
#: The first pause after a failed renewal, and the longest, seconds; each is twice the one before.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0


@dataclass(frozen=True, slots=True)
class Held:
    """A token, until when it may be used and from when it is to be renewed. Times are monotonic seconds."""

    access_token: str = field(repr=False)
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


def hold(access_token: str, life_s: float, *, asked_s: float, chance: float) -> Held:
    """Return a token that was asked for at `asked_s`; `chance` (0 to 1) says where in its span it is renewed."""
    renew_at_s = asked_s + life_s * (EARLIEST + (LATEST - EARLIEST) * chance)
    return Held(access_token, asked_s + life_s - min(SPARE_S, life_s / 4), renew_at_s)
