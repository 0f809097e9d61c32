"""When a grid counts as up: every part ready, every service routed by the gateway, all of it scraped."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from ragrid.apply.waiting import Watch
from ragrid.drivers.local.driver import LocalDriver
from ragrid.drivers.local.health import Prober
from ragrid.drivers.local.part import Part
from ragrid.drivers.local.parts_watch import watched_instances
from ragrid.drivers.local.site import Site
from ragrid.drivers.local.supervisor import states_by_name
from ragrid.errors import UnreachableError
from ragrid.monitoring.coverage import fetch_coverage

#: Longest wait for one part after the last one became ready, or after it last said that its own opening (a migration
#: of millions of rows) had gone on, unless its start takes longer (a large model).
READY_WAIT_S = 60.0
#: vLLM loads and compiles for minutes before it listens.
MODEL_WAIT_S = 1_800.0
#: From ready to routed: a check of the agent, a registration, a watch and a push.
ROUTES_WAIT_S = 30.0
#: With a longer scrape interval than this, `up` does not wait for the first scrapes.
PATIENT_SCRAPE_S = 15.0
_POLL_S = 0.1
#: How much of a log is shown below an error.
_LOG_END_BYTES, _LOG_END_LINES = 4096, 5
#: States of supervisord in which a part will not come back by itself.
_HOPELESS = frozenset({"FATAL", "UNKNOWN"})


class Listener(Protocol):
    """Hears what happens during a long run."""

    def expect(self, total: int) -> None:
        """How many things there will be to finish."""
        ...

    def waiting(self, text: str) -> None:
        """What is waited for."""
        ...

    def done(self, text: str) -> None:
        """What is finished."""
        ...


def await_ready(site: Site, driver: LocalDriver, listener: Listener) -> None:
    """Return once everything is up.

    Raises UnreachableError naming what is not, with the end of its log, once waiting longer makes no sense.
    """
    prober = Prober(site.gateway_authority, tls=site.client_tls)
    try:
        left = list(driver.parts)
        watch = Watch(time.monotonic())
        while left:
            for part in tuple(left):
                health = prober.ask(part)
                now_s = time.monotonic()
                watch.hear(part.name, health, now_s)
                if health.is_ready:
                    listener.done(f"{part.name} ready at {part.address}")
                    left.remove(part)
            if left:
                _refuse_hopeless(driver, left, watch)
                listener.waiting("waiting for " + ", ".join(watch.shown(part.name) for part in left))
                time.sleep(_POLL_S)
        _await_routes(site, driver, prober, listener)
        _await_coverage(site, driver, listener)
    finally:
        prober.close()


def _await_routes(site: Site, driver: LocalDriver, prober: Prober, listener: Listener) -> None:
    """Return once the gateway sends requests to every service: ready, registered and pushed."""
    gateway = next(part for part in driver.parts if part.name == "gateway")
    wanted = {instance.service for instance in watched_instances(site)}
    deadline = time.monotonic() + ROUTES_WAIT_S
    while missing := wanted - prober.routed(gateway):
        names = ", ".join(sorted(missing))
        if time.monotonic() > deadline:
            raise UnreachableError(
                f"gateway: no instance of {names} after {ROUTES_WAIT_S:g} s;"
                " see `ragrid logs agent` and `ragrid logs controller`"
            )
        listener.waiting(f"the gateway to know {names}")
        time.sleep(_POLL_S)


def _await_coverage(site: Site, driver: LocalDriver, listener: Listener) -> None:
    """Return once Prometheus has read the metrics of every part, or would take longer than people wait."""
    monitoring = site.grid.monitoring
    if monitoring.scrape_interval.seconds > PATIENT_SCRAPE_S:
        return
    url = f"http://{site.grid.address_of(monitoring.on[0])}:{monitoring.port}"
    deadline = time.monotonic() + ROUTES_WAIT_S
    while True:
        seen = fetch_coverage(url, [part.name for part in driver.parts])
        names = ", ".join((*seen.missing, *seen.down))
        if not names:
            return
        if time.monotonic() > deadline:
            raise UnreachableError(
                f"prometheus: metrics of {names} not read after {ROUTES_WAIT_S:g} s; see `ragrid logs prometheus`"
            )
        listener.waiting(f"Prometheus to read the metrics of {names}")
        time.sleep(_POLL_S)


def _refuse_hopeless(driver: LocalDriver, left: Sequence[Part], watch: Watch) -> None:
    states = states_by_name(driver.control)
    now_s = time.monotonic()
    for part in left:
        state = states.get(part.name)
        patience_s = MODEL_WAIT_S if part.name == "vllm" else READY_WAIT_S
        if state is None or state.state in _HOPELESS or watch.still_s(part.name, now_s) > patience_s:
            word = state.state.lower() if state else "unknown to the supervisor"
            told = watch.told(part.name, word, now_s)
            raise UnreachableError("\n".join((told, *log_end(driver.layout.log / f"{part.name}.log"))))


def log_end(log: Path) -> Iterator[str]:
    """Yield the last lines of a log, shortened, for people to read below an error."""
    try:
        text = log.read_bytes()[-_LOG_END_BYTES:].decode(errors="replace")
    except OSError as error:
        yield f"  | {error.strerror}"
        return
    yield from (f"  | {line[:200]}" for line in text.rstrip().splitlines()[-_LOG_END_LINES:])
