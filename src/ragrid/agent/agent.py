"""The agent of one host, put together: watchers, status file, HTTP, the vigil over the supervisor."""

import asyncio
import contextlib
import logging
import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path

import httpx

from ragrid.agent.certificates import watch_certificates
from ragrid.agent.checks import CompletionProbe, Probe, http_probe, tcp_probe
from ragrid.agent.chroma import ChromaProbe
from ragrid.agent.metrics import AgentMetrics
from ragrid.agent.processes import ProcessReader
from ragrid.agent.restarter import Restarter, SupervisedParts, grid_root
from ragrid.agent.state import State
from ragrid.agent.status import AgentStatus, instance_status, iso_time, registry_status, save_status
from ragrid.agent.watchdog import keep_supervised
from ragrid.agent.watcher import RegistryHealth, Watcher
from ragrid.errors import SpecError
from ragrid.registry.protocol import Registry
from ragrid.spec.settings import AgentSettings, WatchedInstance
from ragrid.system.clock import Clock
from ragrid.system.log_files import trim_all
from ragrid.system.tls import client_context

logger = logging.getLogger(__name__)

#: The status file is written on every change, and at least this often, seconds.
STATUS_EVERY_S = 5.0
#: How often logs are looked at; a flood of 100,000 lines a minute adds about 30 MB to the limit meanwhile.
TRIM_EVERY_S = 60.0


class Agent:
    """Everything that one host's agent knows; `run` does the work until it is cancelled."""

    def __init__(self, settings: AgentSettings, registry: Registry, *, identity: str, clock: Clock) -> None:
        self.settings = settings
        self.metrics = AgentMetrics()
        self.registry_health = RegistryHealth(self.metrics, clock)
        self.processes = ProcessReader(clock)
        self.watchers: tuple[Watcher, ...] = ()
        self._registry = registry
        self._identity = identity
        self._clock = clock
        self._changed = asyncio.Event()
        self._is_stopping = False

    async def run(self, stop: asyncio.Event) -> None:
        """Look after every instance until `stop` is set, then take the instances out of the registry."""
        async with contextlib.AsyncExitStack() as stack:
            self.watchers = tuple([await self._watcher(one, stack) for one in self.settings.instances])
            await self._work_until(stop)
            self._is_stopping = True
            await asyncio.gather(*(watcher.farewell() for watcher in self.watchers))
            self._save_status()
        logger.info("agent has stopped", extra={"host": self.settings.host_name})

    async def _work_until(self, stop: asyncio.Event) -> None:
        """Run every loop; returns once `stop` is set and all of them have ended. A loop that fails ends the agent."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(watcher.run()) for watcher in self.watchers]
            tasks += [group.create_task(restarter.run(state)) for restarter, state in self._restarters()]
            tasks.append(group.create_task(self._save_status_forever()))
            if self.settings.log_directory:
                tasks.append(group.create_task(_trim_logs_forever(self.settings.log_directory)))
            if self.settings.certificates:
                tasks.append(group.create_task(watch_certificates(self.settings.certificates, self.metrics)))
            if self.settings.supervisor_socket and self.settings.supervisor_command:
                vigil = keep_supervised(
                    self.settings.supervisor_socket,
                    self.settings.supervisor_command,
                    clock=self._clock,
                    on_start=self.metrics.supervisor_started,
                )
                tasks.append(group.create_task(vigil))
            await stop.wait()
            for task in tasks:
                task.cancel()

    def _restarters(self) -> Iterator[tuple[Restarter, Callable[[], State]]]:
        """Yield what restarts the parts that may be restarted, each with how to read its instance's state."""
        root = grid_root()
        if self.settings.supervisor_socket is None or root is None:
            return
        parts = SupervisedParts(self.settings.supervisor_socket, root)
        for watcher in self.watchers:
            if watcher.watched.restart is not None:
                restarter = Restarter(
                    watcher.watched, watcher.watched.restart, parts, metrics=self.metrics, clock=self._clock
                )
                yield restarter, partial(_state_of, watcher)

    async def _watcher(self, watched: WatchedInstance, stack: contextlib.AsyncExitStack) -> Watcher:
        return Watcher(
            watched,
            await stack.enter_async_context(opened_probe(watched, self._clock)),
            registry=self._registry,
            registry_health=self.registry_health,
            identity=self._identity,
            lease_s=self.settings.lease_s,
            metrics=self.metrics,
            clock=self._clock,
            on_change=self._changed.set,
        )

    async def _save_status_forever(self) -> None:
        while True:
            self._changed.clear()
            await asyncio.to_thread(self._save_status)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STATUS_EVERY_S):
                    await self._changed.wait()

    def _save_status(self) -> None:
        status = AgentStatus(
            host_name=self.settings.host_name,
            pid=os.getpid(),
            written=iso_time(self._clock.now_s()),
            stopping=self._is_stopping,
            registry=registry_status(self.registry_health),
            instances=tuple(instance_status(watcher) for watcher in self.watchers),
        )
        try:
            save_status(self.settings.status_file, status)
        except OSError as error:  # a full disk must not take healthy instances out
            logger.warning("status file cannot be written", extra={"reason": str(error)})


def _state_of(watcher: Watcher) -> State:
    return watcher.state


async def _trim_logs_forever(folder: Path) -> None:
    while True:
        try:
            trimmed = await asyncio.to_thread(trim_all, folder)
        except OSError as error:  # a full disk must not take healthy instances out
            logger.warning("logs cannot be trimmed", extra={"reason": str(error)})
        else:
            if trimmed:
                logger.info("logs trimmed", extra={"logs": trimmed})
        await asyncio.sleep(TRIM_EVERY_S)


@contextlib.asynccontextmanager
async def opened_probe(watched: WatchedInstance, clock: Clock) -> AsyncIterator[Probe]:
    """Yield what looks at one instance. Connections are not kept: each look proves that new ones are accepted."""
    check = watched.check
    if check.kind == "tcp":
        yield tcp_probe(watched.host, watched.port)
        return
    host = f"[{watched.host}]" if ":" in watched.host else watched.host
    client = httpx.AsyncClient(
        base_url=f"{watched.scheme}://{host}:{watched.port}",
        verify=_trust(watched),
        limits=httpx.Limits(max_keepalive_connections=0),
        timeout=None,  # noqa: S113 - run_check bounds every look as a whole
        trust_env=False,
    )
    async with client:
        if check.kind == "chroma":
            yield ChromaProbe(client)
        elif check.kind == "completion":
            probe = CompletionProbe(client, _model_of(watched), clock=clock)
            try:
                yield probe
            finally:
                await probe.close()
        else:
            yield http_probe(client, check.path)


def _trust(watched: WatchedInstance) -> ssl.SSLContext | bool:
    if watched.ca_file is None:
        return True
    if watched.certificate_file is None or watched.key_file is None:
        return ssl.create_default_context(cafile=watched.ca_file)
    return client_context(
        authority_file=watched.ca_file, certificate_file=watched.certificate_file, key_file=watched.key_file
    )


def _model_of(watched: WatchedInstance) -> str:
    if watched.check.model is None:
        where = f"instances.{watched.service}/{watched.instance_id}.check.model"
        raise SpecError(
            [f"{where}: got nothing, wanted the served model's name; a completion check asks it for a token"]
        )
    return watched.check.model
