"""What runs, as it is now: every part is asked itself, and Prometheus is asked what it scrapes."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from ragrid.drivers.local.driver import SUPERVISOR, LocalDriver
from ragrid.drivers.local.health import Health, Prober
from ragrid.drivers.local.part import Part
from ragrid.drivers.local.site import Site
from ragrid.drivers.local.supervisor import ProcessState, states_by_name
from ragrid.errors import RagridError
from ragrid.monitoring.coverage import fetch_coverage
from ragrid.system import owned


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One part. `state` is the supervisor's word, or `ORPHANED` when the part lives on without it.

    `since_s` is the start of the present state in seconds since the epoch; `scraped` is None when Prometheus is away.
    """

    name: str
    state: str
    is_healthy: bool
    address: str
    version: str
    pid: int | None
    since_s: float | None
    scraped: bool | None
    detail: str


@dataclass(frozen=True, slots=True)
class GridStatus:
    """All parts of the grid on this machine, and which embedder and generator serve."""

    grid: str
    address: str
    supervisor: bool
    parts: tuple[PartStatus, ...]
    embedder: str
    generator: str

    @property
    def is_healthy(self) -> bool:
        """Tell whether everything runs, answers and is scraped."""
        return self.supervisor and all(part.is_healthy and part.scraped for part in self.parts)

    def document(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"healthy": self.is_healthy, **asdict(self)}


def examine(site: Site, driver: LocalDriver) -> GridStatus:
    """Return the present status of the grid of `site`; asks all parts at once, each for 2 s at most."""
    prober = Prober(site.gateway_authority, tls=site.client_tls)
    try:
        with ThreadPoolExecutor(max_workers=len(driver.parts)) as pool:
            asked = pool.map(lambda part: _ask(prober, part), driver.parts)
            healths = {part.name: health for part, health in zip(driver.parts, asked, strict=True)}
    finally:
        prober.close()
    states = states_by_name(driver.control)
    running = _running(site)
    scraped = _scraped(site, driver.parts)
    return GridStatus(
        grid=site.grid.grid,
        address=site.grid.public_url,
        supervisor=SUPERVISOR in running and bool(states),
        parts=tuple(
            _status(part, states.get(part.name), healths[part.name], running.get(part.name), scraped)
            for part in driver.parts
        ),
        embedder=_embedder(site, healths),
        generator=_generator(site, healths),
    )


def _ask(prober: Prober, part: Part) -> Health:
    """Return the health of one part; the gateway's door may be open while it knows no instance, or too little."""
    health = prober.ask(part)
    return prober.edge(part) if part.name == "gateway" and health.is_ready else health


def _status(
    part: Part,
    state: ProcessState | None,
    health: Health,
    running_pid: int | None,
    scraped: Mapping[str, bool] | None,
) -> PartStatus:
    word = state.state if state else ("ORPHANED" if running_pid else "STOPPED")
    return PartStatus(
        name=part.name,
        state=word,
        is_healthy=health.is_ready and word == "RUNNING",
        address=part.address,
        version=part.version,
        pid=running_pid,
        since_s=state.since_s if state else None,
        scraped=None if scraped is None else scraped.get(part.name, False),
        detail="; ".join(text for text in (_reason(word, state), health.detail) if text),
    )


def _running(site: Site) -> Mapping[str, int]:
    """Return the process that each part was started as; for one without a record, the first that is found."""
    found = {name: pid for pid, name in sorted(owned.parts_running(site.layout.root).items(), reverse=True)}
    leaders = {name: owned.Leader.read(site.layout.locks / f"{name}.lock") for name in found}
    return {name: leader.pid if (leader := leaders[name]) and leader.is_alive() else pid for name, pid in found.items()}


def _reason(word: str, state: ProcessState | None) -> str:
    """Return what a state means, where the word alone does not say it."""
    told = {
        "STOPPED": "stopped; `ragrid up` starts it",
        "ORPHANED": "runs without the supervisor; `ragrid up` starts one",
        "EXITED": "ended; the supervisor starts it again",
        "FATAL": "the supervisor gave up; look at its log, then `ragrid up`",
    }
    return told.get(word, state.description if state and word == "BACKOFF" else "")


def _scraped(site: Site, parts: Sequence[Part]) -> Mapping[str, bool] | None:
    monitoring = site.grid.monitoring
    url = f"http://{site.grid.address_of(monitoring.on[0])}:{monitoring.port}"
    try:
        coverage = fetch_coverage(url, [part.name for part in parts])
    except RagridError:
        return None
    bad = {*coverage.missing, *coverage.down}
    return {part.name: part.name not in bad for part in parts}


def _embedder(site: Site, healths: Mapping[str, Health]) -> str:
    """Return the embedder that serves, as rag itself tells it."""
    rag = site.grid.services.rag
    if rag is None:
        return "none"
    told = healths["rag"].told
    if "embedder" not in told:
        return f"unknown, since rag does not answer (wanted {rag.embedder.kind})"
    return f"{told['embedder']} ({'semantic' if told.get('is_semantic') else 'lexical'})"


def _generator(site: Site, healths: Mapping[str, Health]) -> str:
    """Return the generator that serves: the best passages stand in for a model of the grid that is away."""
    rag = site.grid.services.rag
    if rag is None:
        return "none"
    told = healths["rag"].told.get("generator")
    if told is None:
        return f"unknown, since rag does not answer (wanted {rag.generator.kind})"
    vllm = healths.get("vllm")
    if rag.generator.kind == "vllm" and vllm is not None and not vllm.is_ready:
        return f"extractive, since {told} is away"
    return str(told)
