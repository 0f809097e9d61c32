"""Bounds on refusals: failed client authentications, and the audit lines that they cost."""

from collections import OrderedDict
from dataclasses import dataclass

from ragrid.system.clock import Clock

#: This many failures in a row are answered at once; then each one doubles the pause.
FREE_FAILURES = 5
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 300.0
#: Client ids remembered at once; the one that failed longest ago is forgotten first.
REMEMBERED = 4096


@dataclass(slots=True)
class _Failures:
    count: int = 0
    until_s: float = 0.0


class Lockout:
    """Exponential pauses for a client id whose secret keeps being wrong; in memory.

    A client's right secret always passes and ends the pause: secrets have 256 bits, so pauses are not what keeps them
    from being guessed; they bound what a guesser costs this process, and must not let a stranger lock out the owner.
    The password of a person can be guessed, so there the pause holds for right ones too, and at all replicas
    (`attempts.py`).
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def pause_s(self, client_id: str) -> float:
        """Return for how many more seconds wrong secrets of `client_id` are refused unseen; 0 when none is due."""
        known = self._failures.get(client_id)
        return 0.0 if known is None else max(0.0, known.until_s - self._clock.monotonic_s())

    def failed(self, client_id: str) -> None:
        """Count one wrong secret."""
        known = self._failures.setdefault(client_id, _Failures())
        self._failures.move_to_end(client_id)
        known.count += 1
        known.until_s = self._clock.monotonic_s() + pause_after_s(known.count)
        while len(self._failures) > REMEMBERED:
            self._failures.popitem(last=False)

    def succeeded(self, client_id: str) -> None:
        """Forget the failures of `client_id`."""
        self._failures.pop(client_id, None)


def pause_after_s(failures: int) -> float:
    """Return how long nothing is looked at after so many failures in a row, seconds."""
    if failures <= FREE_FAILURES:
        return 0.0
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures - FREE_FAILURES - 1, 16))


class Budget:
    """A token bucket: `spend` says whether there is something left, `left_out` how often there was not."""

    def __init__(self, clock: Clock, *, per_s: float, burst: int) -> None:
        self._clock = clock
        self._per_s = per_s
        self._burst = float(burst)
        self._left = float(burst)
        self._seen_s = clock.monotonic_s()
        self.left_out = 0

    def spend(self) -> bool:
        """Take one when there is one."""
        now_s = self._clock.monotonic_s()
        self._left = min(self._burst, self._left + (now_s - self._seen_s) * self._per_s)
        self._seen_s = now_s
        if self._left < 1.0:
            self.left_out += 1
            return False
        self._left -= 1.0
        return True
