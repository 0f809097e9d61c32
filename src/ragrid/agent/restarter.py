"""Starts a hung or failing part again, by way of the supervisor, which alone starts processes."""

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

from ragrid.agent import restarts as core
from ragrid.agent.metrics import AgentMetrics
from ragrid.agent.restarts import Record, Verdict
from ragrid.agent.state import State
from ragrid.drivers.local.supervisor import ProcessState, SupervisorControl
from ragrid.errors import RagridError
from ragrid.spec.settings import RestartRules, WatchedInstance
from ragrid.system import owned
from ragrid.system.clock import Clock

logger = logging.getLogger(__name__)

#: How often the health of the instance is looked at, seconds.
LOOK_EVERY_S = 1.0
#: How long the processes of a part may take to end by themselves before they are killed, seconds.
END_GRACE_S = 10.0
#: What a person stopped stays stopped, and what the supervisor is starting is its business.
_RUNS, _GAVE_UP = "RUNNING", "FATAL"


class SupervisedParts:
    """The parts of the grid under `root`, as the supervisor at `socket` runs them. Every method blocks.

    A part is never told to stop: its processes are ended, and the supervisor starts what ends. So there is no moment
    at which the death of this agent would leave a part stopped.
    """

    def __init__(self, socket: Path, root: Path) -> None:
        self._control = SupervisorControl(socket)
        self._root = root

    def process(self, part: str) -> ProcessState | None:
        """Return how the supervisor sees `part`; None when it may not be restarted now. Raises UnreachableError."""
        for state in self._control.processes():
            if state.name == part and state.state in (_RUNS, _GAVE_UP):
                return state
        return None

    def restart(self, state: ProcessState) -> None:
        """End every process of the part, so that it is started again. Raises UnreachableError."""
        if state.state == _GAVE_UP:
            self._control.start(state.name)
            return
        before = set(self._pids(state.name))
        owned.end(lambda: before.intersection(self._pids(state.name)), grace_s=END_GRACE_S)

    def _pids(self, part: str) -> list[int]:
        return [pid for pid, name in owned.parts_running(self._root).items() if name == part]


class Restarter:
    """Restarts the part behind one instance while its check fails, and gives up in the end."""

    def __init__(
        self,
        watched: WatchedInstance,
        rules: RestartRules,
        parts: SupervisedParts,
        *,
        metrics: AgentMetrics,
        clock: Clock,
    ) -> None:
        self.record = Record()
        self._watched = watched
        self._rules = rules
        self._parts = parts
        self._metrics = metrics
        self._clock = clock
        self._has_given_up = False
        metrics.expect_restarts(watched.service, watched.instance_id)

    async def run(self, state: Callable[[], State]) -> None:
        """Look at the instance's `state` until cancelled."""
        while True:
            now_s, wall_s = self._clock.monotonic_s(), self._clock.now_s()
            self.record = core.looked(self.record, core.health_of(state(), self._rules), now_s=now_s, wall_s=wall_s)
            if self.record.failing_since_s is None:
                self._give_up(given_up=False)
            if core.is_due(self.record, self._rules, now_s=now_s):
                await self._consider()
            await asyncio.sleep(LOOK_EVERY_S)

    async def _consider(self) -> None:
        try:
            state = await asyncio.to_thread(self._parts.process, self._rules.part)
            if state is None:
                return
            decided = core.verdict(self.record, self._rules, started_s=state.since_s, wall_s=self._clock.now_s())
            if decided == Verdict.RESTART:
                extra = {"attempt": self.record.attempts + 1, "of": self._rules.attempts, **self._who()}
                logger.warning("part fails its check; restarting it", extra=extra)
                await asyncio.to_thread(self._parts.restart, state)
                self._metrics.restarted(self._watched.service, self._watched.instance_id)
                self.record = core.restarted(self.record, self._rules, now_s=self._clock.monotonic_s())
            self._give_up(given_up=decided == Verdict.GIVE_UP)
        except RagridError as error:  # the vigil starts a dead supervisor; then we ask again
            logger.warning("part cannot be restarted now", extra={"reason": str(error), **self._who()})

    def _give_up(self, *, given_up: bool) -> None:
        if given_up and not self._has_given_up:
            logger.error("part still fails after every restart; leaving it alone", extra=self._who())
        self._has_given_up = given_up
        self._metrics.gave_up(self._watched.service, self._watched.instance_id, given_up=given_up)

    def _who(self) -> dict[str, str]:
        return {"part": self._rules.part, "instance": self._watched.instance_id}


def grid_root() -> Path | None:
    """Return the state directory of the grid that this process belongs to, by its own mark."""
    root, separator, _ = os.environ.get(owned.MARK, "").rpartition(":")
    return Path(root) if separator else None
