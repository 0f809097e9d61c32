"""What the memory service of a running grid does, alone and through the gateway: reads, durable writes and searches.

Rounds alternate between the two addresses, so that what else the machine does weighs on both alike; figures are
medians. Among more than 10,000 memories, all of it is measured at each power of ten on the way, which gives the slope.
What is written lies in namespaces of its own and expires by itself, also when the benchmark is cut short.
"""

import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import httpx
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from ragrid.errors import RagridError, UnreachableError
from ragrid.system.process import find_program, run
from ragrid.verify.memory_figures import Collected, Figures, MemoryBench, Step, WrkRun, parse_run, slope, steps_to
from ragrid.verify.memory_questions import ask
from ragrid.verify.memory_seed import Seed, Target, fill, forget_all
from ragrid.verify.memory_texts import Model, questions_of

CONNECTIONS = 64
#: Keys that reads are spread over, unless somebody wants more.
MEMORIES = 2000
#: Searches of each address in each round, each with a question of its own.
QUESTIONS = 50
#: Questions before those that count: they load the vectors, the model and the connections.
WARM_UP = 3
#: What the benchmark writes is gone after this, seconds, and as much longer for each memory: longer than any run takes.
TTL_S = 900
TTL_S_PER_MEMORY = 0.003
#: wrk ends by itself; when it does not, it is killed this long after, seconds.
PATIENCE_S = 30.0

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Place:
    """Where to measure: the service alone, and the gateway with the authority of its certificate."""

    direct: Target
    gateway: Target
    ca_file: Path | None = None


@dataclass(frozen=True)
class Effort:
    """How much to measure: alternating rounds, and seconds for each run of wrk."""

    rounds: int = 3
    seconds: int = 4


def bench_memory(
    place: Place, effort: Effort, *, memories: int = MEMORIES, model: Model | None = None, tell: Tell = lambda _: None
) -> MemoryBench:
    """Measure both addresses in alternating rounds among `memories` that are written before.

    With a `model`, the one that the service embeds with, each memory brings a vector, and searches are by words and by
    meaning; without, by words. `tell` hears what is under way. Raises MissingError without wrk, UnreachableError when
    an address does not answer, RagridError when a request was refused: then there is no figure.
    """
    wrk = find_program("wrk", package="wrk")
    ttl_s = TTL_S + math.ceil(memories * TTL_S_PER_MEMORY)
    seed = Seed(f"bench-{secrets.token_hex(4)}", ttl_s, model)
    tell(f"writing {memories} memories to read into namespace {seed.namespace}")
    steps: list[Step] = []
    written = 0
    for count in steps_to(memories):
        fill_s = fill(place.direct, seed, range(written, count), ca_file=None, tell=tell)
        tell(f"measuring among {count} memories")
        bench = _Round(wrk, place, effort, seed, count)
        alone, through_gateway = bench.measure(tell)
        resident_mib = round(usage(place.direct).resident_bytes / 2**20, 1)
        filled_per_s = round((count - written) / fill_s, 1)
        steps.append(
            Step(
                memories=count,
                filled_per_s=filled_per_s,
                resident_mib=resident_mib,
                alone=alone,
                through_gateway=through_gateway,
            )
        )
        tell(f"among {count} memories: {msgspec.json.encode(steps[-1]).decode()}")
        written = count
        if model is not None and count < memories:
            tell("forgetting what the writes wrote: the next step would wait for its vectors")
            forget_all(place.direct, seed.beside)
    last = steps[-1]
    return MemoryBench(
        **msgspec.structs.asdict(last.alone),
        through_gateway=last.through_gateway,
        connections=CONNECTIONS,
        rounds=effort.rounds,
        memories=memories,
        search_mode="lexical" if model is None else "hybrid",
        steps=tuple(steps),
        per_tenfold=slope(steps),
    )


class Usage(msgspec.Struct, frozen=True):
    """What the service has used since it was started, and what it holds."""

    processor_s: float
    resident_bytes: float


def usage(target: Target) -> Usage:
    """Return what the service says on its private port. Raises UnreachableError when it does not."""
    try:
        text = httpx.get(f"{target.url}/metrics", timeout=PATIENCE_S, trust_env=False).raise_for_status().text
    except httpx.HTTPError as error:
        raise UnreachableError(f"{target.url}/metrics: {error!r}; run `ragrid status`") from error
    samples = {one.name: one.value for family in text_string_to_metric_families(text) for one in family.samples}
    try:
        return Usage(samples["process_cpu_seconds_total"], samples["process_resident_memory_bytes"])
    except KeyError as error:
        raise RagridError(f"{target.url}/metrics: no {error}; wanted the metrics of a process on Linux") from error


@dataclass(frozen=True)
class _Round:
    """All rounds among one number of memories."""

    wrk: Path
    place: Place
    effort: Effort
    seed: Seed
    memories: int

    def measure(self, tell: Tell) -> tuple[Figures, Figures]:
        """Return the figures of the service alone and through the gateway."""
        targets = {"direct": self.place.direct, "gateway": self.place.gateway}
        figures = {name: Collected() for name in targets}
        for number in range(1, self.effort.rounds + 1):
            for place, (name, target) in enumerate(targets.items()):
                tell(f"round {number} of {self.effort.rounds}: searches, {name}")
                figures[name].searches.append(self._search(target, len(targets) * number + place))
        for number in range(1, self.effort.rounds + 1):
            for mode in ("read", "write"):
                for name, target in targets.items():
                    tell(f"round {number} of {self.effort.rounds}: {mode}s, {name}")
                    before_s = usage(self.place.direct).processor_s
                    done = self._load(target, mode)
                    spent_s = usage(self.place.direct).processor_s - before_s
                    getattr(figures[name], f"{mode}s").append((done, spent_s / done.requests))
        return figures["direct"].figures(), figures["gateway"].figures()

    def _search(self, target: Target, number: int) -> tuple[list[float], float]:
        """Ask questions that are new to the service: it keeps the vectors of those that it has just embedded."""
        questions = questions_of(self.memories * 1000 + number, WARM_UP + QUESTIONS)
        ask(target, self.seed, questions[:WARM_UP], ca_file=self.place.ca_file)
        before_s = usage(self.place.direct).processor_s
        took_s = ask(target, self.seed, questions[WARM_UP:], ca_file=self.place.ca_file)
        return took_s, (usage(self.place.direct).processor_s - before_s) / QUESTIONS

    def _load(self, target: Target, mode: str) -> WrkRun:
        """Run wrk once. The token travels in the environment, where no list of processes shows it."""
        environment = {
            "MODE": mode,
            "TOKEN": target.token(),
            # What is written lies beside what is read and searched, which stays as many.
            "NAMESPACE": self.seed.beside if mode == "write" else self.seed.namespace,
            "MEMORIES": str(self.memories),
            "TTL_S": str(self.seed.ttl_s),
            "SALT": secrets.token_hex(4),
        }
        seconds = self.effort.seconds
        with resources.as_file(resources.files("ragrid.verify") / "memory_load.lua") as script:
            load = (f"-c{CONNECTIONS}", "-t1", f"-d{seconds}s", "--timeout", "10s", "-s", str(script))
            done = run((str(self.wrk), *load, target.url), timeout_s=seconds + PATIENCE_S, environment=environment)
        return parse_run(done.stdout, f"{mode}s at {target.url}")
