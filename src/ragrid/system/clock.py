"""Time comes in as an argument: a `Clock` is handed to whatever needs one."""

import time
from typing import Protocol


class Clock(Protocol):
    """Two readings: wall-clock time for records, monotonic time for durations."""

    def now_s(self) -> float:
        """Return seconds since the Unix epoch."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds from an arbitrary start that never goes backwards."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_s(self) -> float:
        """Return seconds since the Unix epoch."""
        return time.time()

    def monotonic_s(self) -> float:
        """Return seconds from an arbitrary start that never goes backwards."""
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told to; for tests and simulations."""

    def __init__(self, start_s: float = 1_800_000_000.0) -> None:
        self._now_s = start_s
        self._monotonic_s = 0.0

    def now_s(self) -> float:
        """Return seconds since the Unix epoch."""
        return self._now_s

    def monotonic_s(self) -> float:
        """Return seconds from an arbitrary start that never goes backwards."""
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Move both readings forward by `seconds`."""
        self._now_s += seconds
        self._monotonic_s += seconds

    def step_wall(self, seconds: float) -> None:
        """Move only the wall clock, as an administrator or NTP would."""
        self._now_s += seconds
