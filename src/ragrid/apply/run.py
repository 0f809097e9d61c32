"""Runs a plan and journals every step, so that a run cut anywhere is continued by running it again."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from ragrid.drivers.protocol import Driver
from ragrid.plan.steps import Step
from ragrid.system.clock import Clock


class Journal:
    """An append-only record of steps, one JSON object a line, for people and for `ragrid status`."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock

    def record(self, event: str, step: Step) -> None:
        """Append one line; `event` is `begin` or `done`."""
        line = json.dumps(
            {"at": self._clock.now_s(), "event": event, "action": step.action, "part": step.part, "to": step.revision}
        )
        with self._path.open("a", encoding="utf-8") as journal:
            journal.write(line + "\n")


def apply(steps: Sequence[Step], driver: Driver, journal: Journal, *, watch: Callable[[int, Step], None]) -> None:
    """Run `steps` in order; `watch` hears the number (from 1) and the step before each one.

    Stops at the first step that fails; what was done stays done, and a new plan goes on from there.
    """
    for number, step in enumerate(steps, start=1):
        watch(number, step)
        journal.record("begin", step)
        driver.run(step)
        journal.record("done", step)
