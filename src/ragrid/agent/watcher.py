"""Looks after one instance: a loop that checks, and beside it a loop that talks to the registry."""

import asyncio
import logging
from collections.abc import Callable

from ragrid.agent import state as core
from ragrid.agent.checks import Probe, run_check
from ragrid.agent.identity import OWNER, other_owner
from ragrid.agent.metrics import AgentMetrics
from ragrid.agent.state import Action, Rules, State
from ragrid.errors import ConflictError, LeaseLostError, RagridError
from ragrid.registry.protocol import Instance, Lease, Registry
from ragrid.spec.settings import WatchedInstance
from ragrid.system.clock import Clock

logger = logging.getLogger(__name__)

#: Longest time to give leases back after SIGTERM, seconds; what is left ends by its lease.
FAREWELL_S = 3.0


class RegistryHealth:
    """Whether the registry's last answer was one; shared by all watchers, changes are logged once."""

    def __init__(self, metrics: AgentMetrics, clock: Clock) -> None:
        self.is_up: bool | None = None
        self.since_s = clock.now_s()
        self.last_error = ""
        self._metrics = metrics
        self._clock = clock

    def answered(self) -> None:
        """Note that a call worked."""
        self._change(is_up=True, reason="")

    def failed(self, error: RagridError) -> None:
        """Note that a call failed."""
        self.last_error = str(error)
        self._change(is_up=False, reason=str(error))

    def _change(self, *, is_up: bool, reason: str) -> None:
        self._metrics.registry_answered(ok=is_up)
        if self.is_up == is_up:
            return
        self.is_up, self.since_s = is_up, self._clock.now_s()
        if is_up:
            logger.info("registry answers")
        else:
            logger.warning(
                "registry does not answer; checks go on, leases will be taken again", extra={"error": reason}
            )


class OwnedElsewhereError(ConflictError):
    """Another agent holds the instance."""

    def __init__(self, owner: str) -> None:
        super().__init__(f"registered by agent {owner}; give the instances names of their own, or stop one agent")
        self.owner = owner


class Watcher:
    """One instance. `on_change` is called after every event that `status` should show at once."""

    def __init__(
        self,
        watched: WatchedInstance,
        probe: Probe,
        *,
        registry: Registry,
        registry_health: RegistryHealth,
        identity: str,
        lease_s: float,
        metrics: AgentMetrics,
        clock: Clock,
        on_change: Callable[[], None],
    ) -> None:
        self.watched = watched
        self.state = State(since_s=clock.now_s())
        self._probe = probe
        self._registry = registry
        self._registry_health = registry_health
        self._lease_s = lease_s
        self._metrics = metrics
        self._clock = clock
        self._on_change = on_change
        self._rules = Rules(rise=watched.check.rise, fall=watched.check.fall, register=watched.register)
        self._event = asyncio.Event()
        self._instance = Instance(
            service=watched.service,
            instance_id=watched.instance_id,
            host=watched.host,
            port=watched.port,
            version=watched.version,
            weight=watched.weight,
            meta={OWNER: identity},
        )
        metrics.expect(watched.service, watched.instance_id)

    async def run(self) -> None:
        """Check and register until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._check_forever())
            group.create_task(self._register_forever())

    async def farewell(self) -> None:
        """Give the lease back, if there is one; call it once `run` has ended."""
        self._become(core.stopping(self.state))
        try:
            async with asyncio.timeout(FAREWELL_S):
                await self._step()
        except TimeoutError:
            logger.warning("could not deregister in time; the lease will end by itself", extra=self._who())

    async def _check_forever(self) -> None:
        check = self.watched.check
        while True:
            started_s = self._clock.monotonic_s()
            result = await run_check(self._probe, timeout_s=check.timeout_s, clock=self._clock)
            self._metrics.check(self.watched.service, self.watched.instance_id, result)
            self._become(core.checked(self.state, result, self._rules, now_s=self._clock.now_s()))
            interval_s = core.check_interval_s(self.state, usual_s=check.interval_s)
            await asyncio.sleep(max(0.0, interval_s - (self._clock.monotonic_s() - started_s)))

    async def _register_forever(self) -> None:
        while True:
            await self._step()
            wait_s = core.wait_s(self.state, self._rules, now_s=self._clock.monotonic_s())
            try:
                async with asyncio.timeout(wait_s):
                    await self._event.wait()
            except TimeoutError:
                continue
            finally:
                self._event.clear()

    async def _step(self) -> None:
        """Ask of the registry what the state calls for, and take its answer over."""
        action = core.next_action(self.state, self._rules, now_s=self._clock.monotonic_s())
        if action == Action.NONE:
            return
        try:
            lease = await self._ask(action)
        except LeaseLostError:
            self._registry_health.answered()
            self._metrics.lease_lost(self.watched.service, self.watched.instance_id)
            logger.warning("lease was lost; registering again", extra=self._who())
            self._become(core.released(self.state))
        except OwnedElsewhereError as error:
            self._registry_health.answered()
            if self.state.owner != error.owner:
                logger.warning(
                    "another agent holds this instance; observing", extra={"owner": error.owner, **self._who()}
                )
            self._become(core.owned_elsewhere(self.state, error.owner, now_s=self._clock.monotonic_s()))
        except RagridError as error:
            self._registry_health.failed(error)
            self._become(core.registry_failed(self.state, now_s=self._clock.monotonic_s()))
        else:
            self._registry_health.answered()
            if action != Action.RENEW:
                logger.info("registration changed", extra={"action": action.value, **self._who()})
            now_s = self._clock.monotonic_s()
            self._become(core.held(self.state, lease, now_s=now_s) if lease else core.released(self.state))

    async def _ask(self, action: Action) -> Lease | None:
        """Return the lease that is held afterwards, None when there is none."""
        held = self.state.lease
        if held is None:
            owner = other_owner(self._instance, (await self._registry.list()).instances)
            if owner:
                raise OwnedElsewhereError(owner)
            return await self._registry.register(self._instance, ttl_s=self._lease_s)
        if action == Action.RENEW:
            await self._registry.renew(held)
            return held
        await self._registry.deregister(held)
        return None

    def _become(self, state: State) -> None:
        before, self.state = self.state, state
        self._metrics.state(self.watched.service, self.watched.instance_id, state)
        if before.health != state.health:
            level = logging.INFO if state.health == core.Health.HEALTHY else logging.WARNING
            error = state.last.error if state.last else ""
            logger.log(level, "health changed", extra={"health": state.health.value, "error": error, **self._who()})
        if before.health != state.health or before.is_stopping != state.is_stopping:
            self._event.set()
        if before.health != state.health or (before.lease is None) != (state.lease is None):
            self._on_change()

    def _who(self) -> dict[str, str]:
        return {"service": self.watched.service, "instance": self.watched.instance_id}
