"""The gateway controller: `python -m ragrid.gateway.controller --settings FILE`.

It watches the registry, the token services' keys and the policy file, decides what nginx should know (`decide.py`),
hands it over on the unix socket, and keeps the last state that nginx accepted on disk, from which nginx can start with
everything else dead.

What is not believed at once: that a service has lost all its instances, or most of them. `registry.confirm` has the
rule (the registry must say so for 15 s without a gap). An unreachable registry or token service changes nothing.
"""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.types import ASGIApp

from ragrid.errors import RagridError, StateError
from ragrid.gateway.admin import AdminSocket, OlderVersionError
from ragrid.gateway.controller_web import ControllerMetrics, controller_routes
from ragrid.gateway.decide import Known, decide, is_usable
from ragrid.gateway.state import GatewayState, dump_state, parse_state
from ragrid.gateway.token_services import ANSWER_TIMEOUT_S, TokenServices
from ragrid.registry.confirm import ConfirmedView, look_again_in_s, observe, unreachable
from ragrid.registry.open import open_registry
from ragrid.registry.protocol import Instance, Registry, Snapshot
from ragrid.spec.settings import ControllerSettings, Listen
from ragrid.system.clock import Clock, SystemClock
from ragrid.system.files import PLAIN, PRIVATE, write_if_changed
from ragrid.web.server import run_service

logger = logging.getLogger(__name__)

#: How often a token service is asked for its keys and revocations, and the policy file looked at, seconds. It answers
#: the moment something changes, and else after about as long.
KEYS_EVERY_S = 1.0
POLICY_EVERY_S = 1.0
#: How often the state is sent again although nothing changed, seconds: a restarted nginx gets it, and how old it is.
RESEND_S = 2.0
#: Longest wait between tries of something that fails, seconds.
LONGEST_WAIT_S = 5.0


class Controller:
    """Runs the loops; each lives through the death of what it watches."""

    def __init__(self, settings: ControllerSettings, *, registry: Registry, clock: Clock) -> None:
        self._settings = settings
        self._registry = registry
        self._clock = clock
        self._admin = AdminSocket(settings.admin_socket)
        self._tokens = TokenServices(settings.token_services, tls=settings.token_services_tls or None)
        self._changed = asyncio.Event()
        self._policy_seen: tuple[int, int] | None = None
        self._unusable: frozenset[str] = frozenset()
        self._problems: dict[str, str] = {}
        self.metrics = ControllerMetrics()
        self.last = _load_last(settings.state_file)
        self.known = Known()
        self.view = ConfirmedView(instances_of(self.last) if self.last else ())
        self.accepted_s: float | None = None
        self._confirmed_s: float | None = None

    async def run(self) -> None:
        """Run until cancelled."""
        loops = (self._registry_loop, self._doubts_loop, self._keys_loop, self._policy_loop, self._push_loop)
        try:
            async with asyncio.TaskGroup() as group:
                for loop in loops:
                    group.create_task(loop())
        finally:
            await self._admin.close()
            await self._tokens.close()
            await self._registry.close()

    def accepted_ago_s(self) -> float | None:
        """Return how long ago nginx last took the state, seconds; None when it never did."""
        return None if self.accepted_s is None else self._clock.monotonic_s() - self.accepted_s

    def confirmed_ago_s(self) -> float | None:
        """Return how long ago a token service last told keys and revocations, seconds; None when it never did."""
        return None if self._confirmed_s is None else self._clock.monotonic_s() - self._confirmed_s

    async def _registry_loop(self) -> None:
        async def watch() -> None:
            # from 0: after a gap the whole list is read again, because doubts must be confirmed without a gap
            async for snapshot in self._registry.watch(0):
                self._well("registry")
                self._observe(snapshot)

        while True:
            await self._live_on("registry", watch, wait_s=1.0)
            self.view = unreachable(self.view)

    async def _doubts_loop(self) -> None:
        """Ask again when a doubt is old enough to be believed or dropped."""

        async def look() -> None:
            self._observe(await self._registry.list())

        while True:
            wait_s = look_again_in_s(self.view, now_s=self._clock.monotonic_s())
            await asyncio.sleep(0.5 if wait_s is None else max(0.1, min(0.5, wait_s)))
            if wait_s is not None and wait_s <= 0:
                await self._live_on("registry", look, wait_s=0.0)

    def _observe(self, snapshot: Snapshot) -> None:
        self.view = observe(self.view, snapshot, now_s=self._clock.monotonic_s())
        unusable = frozenset(f"{one.service}/{one.instance_id}" for one in self.view.instances if not is_usable(one))
        if unusable - self._unusable:
            logger.warning("instances without an IP address get no requests", extra={"instances": sorted(unusable)})
        self._unusable = unusable
        self._learn(replace(self.known, instances=self.view.instances))

    async def _keys_loop(self) -> None:
        revision = ""

        async def fetch() -> None:
            nonlocal revision
            published = await self._tokens.published(revision)
            await self._keep(
                self._settings.jwks_file, published.jwks
            )  # first: what nginx takes, our services should know
            self._well("keys")
            self._learn(replace(self.known, keys=published.keys, revoked=published.revoked.revocations()))
            self._confirm()
            await self._keep(self._settings.revocations_file, published.revocations, mode=PRIVATE, touch=True)
            revision = published.revoked.revision

        while True:
            before, began_s = revision, self._clock.monotonic_s()
            await self._live_on("keys", fetch, wait_s=0.0)
            if revision == before:  # nothing new, or no answer: one turn a second, whether the service waited or not
                await asyncio.sleep(max(0.0, KEYS_EVERY_S - (self._clock.monotonic_s() - began_s)))

    def _confirm(self) -> None:
        """Note that keys and revocations are what they are now; nginx hears of it at once when it had to wait."""
        ago_s = self.confirmed_ago_s()
        self._confirmed_s = self._clock.monotonic_s()
        if ago_s is None or ago_s > RESEND_S + ANSWER_TIMEOUT_S:
            self._changed.set()

    async def _keep(self, file: Path, content: bytes, *, mode: int = PLAIN, touch: bool = False) -> None:
        """Write a file for others, or for our next start; a disk that takes nothing holds nothing else back.

        With `touch`, the time of an equal file says when its content was last known to be so.
        """
        try:
            if await asyncio.to_thread(write_if_changed, file, content, mode=mode):
                logger.info("written", extra={"file": str(file)})
            elif touch:
                os.utime(file)
        except OSError as error:
            self._unwell(file.name, f"{file}: {error.strerror}; who reads it goes on with what it has")
        else:
            self._well(file.name)

    async def _policy_loop(self) -> None:
        async def look() -> None:
            roles = self._changed_roles()
            self._well("policy")
            if roles is not None:
                self._learn(replace(self.known, roles=roles))

        while True:
            await self._live_on("policy", look, wait_s=0.0)
            await asyncio.sleep(POLICY_EVERY_S)

    def _changed_roles(self) -> dict[str, tuple[str, ...]] | None:
        """Return the roles when the file is another one than last time, else None. Raises StateError."""
        try:
            status = self._settings.policy_file.stat()
            seen = (status.st_mtime_ns, status.st_size)
            if seen == self._policy_seen:
                return None
            roles = msgspec.json.decode(self._settings.policy_file.read_bytes(), type=_PolicyFile).roles
        except (OSError, msgspec.MsgspecError) as error:
            raise StateError(f"{self._settings.policy_file}: {error}; the last good roles stay in force") from error
        self._policy_seen = seen
        return roles

    def _learn(self, known: Known) -> None:
        self.known = known
        decision = decide(self.last, known)
        if decision.state is None or decision.state is self.last:
            return
        self.last = decision.state
        logger.info("state decided", extra={"version": self.last.version, "decision": decision.sentence})
        self._changed.set()

    async def _push_loop(self) -> None:
        while True:
            await self._live_on("nginx", self._push, wait_s=0.0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RESEND_S if not self._problems.get("nginx") else 0.5):
                    await self._changed.wait()

    async def _push(self) -> None:
        self._changed.clear()
        state = self.last
        if state is None:
            return
        try:
            accepted = await self._admin.put(state, age_s=self.confirmed_ago_s())
        except OlderVersionError as error:
            # another life of this controller got further than the file we began with: go on from there
            self.last = msgspec.structs.replace(state, version=error.current_version + 1)
            self._changed.set()
            return
        self._well("nginx")
        self.accepted_s = self._clock.monotonic_s()
        self.metrics.accepted(accepted.version)
        await self._keep(self._settings.state_file, dump_state(state), mode=PRIVATE)
        if accepted.applied:
            logger.info("state in force", extra={"version": accepted.version, "kept_pools": list(accepted.kept)})

    async def _live_on(self, what: str, work: Callable[[], Awaitable[None]], *, wait_s: float) -> None:
        """Do `work`; a failure is logged once per reason and costs a wait, never the loop."""
        try:
            await work()
        except RagridError as error:
            self._unwell(what, str(error))
            await asyncio.sleep(min(wait_s, LONGEST_WAIT_S))
        except Exception:  # a loop that ends takes the whole controller with it; what it knows is still good
            logger.exception("unexpected fault; going on", extra={"loop": what})
            self._unwell(what, "unexpected fault")
            await asyncio.sleep(LONGEST_WAIT_S)

    def _well(self, what: str) -> None:
        if self._problems.pop(what, None) is not None:
            logger.info("works again", extra={"what": what})
        self.metrics.reachable(what, is_reachable=True)

    def _unwell(self, what: str, reason: str) -> None:
        self.metrics.reachable(what, is_reachable=False)
        if self._problems.get(what) != reason:
            logger.warning("does not work; the last good state stays in force", extra={"what": what, "reason": reason})
        self._problems[what] = reason


class _PolicyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the driver renders for us."""

    roles: dict[str, tuple[str, ...]]


def instances_of(state: GatewayState) -> tuple[Instance, ...]:
    """Return the instances that a state holds, as the registry would answer them."""
    return tuple(
        Instance(name, one.id, one.host, one.port, weight=one.weight, draining=one.draining)
        for name, service in sorted(state.services.items())
        for one in service.endpoints
    )


def _load_last(path: Path) -> GatewayState | None:
    """Return the last good state; a file that is none is reported and left for a person to look at until replaced."""
    try:
        return parse_state(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, StateError) as error:
        logger.warning("no usable last state", extra={"file": str(path), "reason": str(error)})
        return None


def build(settings: ControllerSettings) -> tuple[ASGIApp, Listen]:
    """Return the ASGI application whose lifespan is the controller."""
    clock = SystemClock()

    @contextlib.asynccontextmanager
    async def lifespan(application: Starlette) -> AsyncIterator[None]:
        controller = Controller(settings, registry=open_registry(settings.registry, clock=clock), clock=clock)
        application.state.controller = controller
        task = asyncio.create_task(controller.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    return Starlette(routes=controller_routes(), lifespan=lifespan), settings.listen


if __name__ == "__main__":
    sys.exit(run_service("controller", ControllerSettings, build))
