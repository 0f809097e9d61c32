"""The figures of `ragrid bench memory`: medians over rounds, steps among ever more memories, and the slope. Pure."""

import math
import statistics
from collections.abc import Sequence

import msgspec

from ragrid.errors import RagridError

#: The fewest memories for which there is a slope.
FIRST_STEP = 10_000


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What one address does: requests a second over all connections, searches one after the other.

    `…_processor_us`: processor time of the service for one request, microseconds; the gateway's is not in it.
    """

    reads_per_s: float
    writes_per_s: float
    read_p99_ms: float
    write_p99_ms: float
    search_p50_ms: float
    search_p99_ms: float
    read_processor_us: float
    write_processor_us: float
    search_processor_us: float


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """The figures among so many memories, how many a second were written to get there, and what the service holds."""

    memories: int
    filled_per_s: float
    resident_mib: float
    alone: Figures
    through_gateway: Figures


class MemoryBench(Figures, frozen=True, kw_only=True):
    """The document of `ragrid bench memory --json`: the service alone, and the same through the gateway.

    `steps` are those on the way; `per_tenfold` is by what each figure of the service alone is multiplied when there
    are ten times as many memories.
    """

    through_gateway: Figures
    connections: int
    rounds: int
    memories: int
    search_mode: str
    steps: tuple[Step, ...]
    per_tenfold: Figures | None


class WrkRun(msgspec.Struct, frozen=True):
    """What wrk said about one run."""

    requests: int
    duration_us: int
    refused: int
    failed: int
    p50_us: int
    p99_us: int


def steps_to(memories: int) -> list[int]:
    """Return how many memories to measure among: the powers of ten below, from 10,000 on, and `memories`."""
    steps = []
    count = FIRST_STEP
    while count < memories:
        steps.append(count)
        count *= 10
    return [*steps, memories]


def slope(steps: Sequence[Step]) -> Figures | None:
    """Return by what each figure is multiplied for ten times as many memories, over all steps; None for one step."""
    first, last = steps[0], steps[-1]
    if len(steps) < 2:
        return None
    tenfolds = math.log10(last.memories / first.memories)
    before, after = msgspec.structs.asdict(first.alone), msgspec.structs.asdict(last.alone)
    # What was too little to be seen at first has no slope.
    factors = {name: (after[name] / before[name]) ** (1 / tenfolds) if before[name] else 0.0 for name in before}
    return Figures(**{name: round(factor, 3) for name, factor in factors.items()})


class Collected:
    """What was measured at one address: each with the processor time of one request, seconds."""

    def __init__(self) -> None:
        self.reads: list[tuple[WrkRun, float]] = []
        self.writes: list[tuple[WrkRun, float]] = []
        self.searches: list[tuple[list[float], float]] = []

    def figures(self) -> Figures:
        """Return the medians over the rounds."""
        return Figures(
            reads_per_s=_rate(self.reads),
            writes_per_s=_rate(self.writes),
            read_p99_ms=_p99_ms(self.reads),
            write_p99_ms=_p99_ms(self.writes),
            search_p50_ms=_median([took_s[len(took_s) // 2] * 1000 for took_s, _ in self.searches], 2),
            search_p99_ms=_median([took_s[len(took_s) * 99 // 100] * 1000 for took_s, _ in self.searches], 2),
            read_processor_us=_median([spent_s * 1e6 for _, spent_s in self.reads]),
            write_processor_us=_median([spent_s * 1e6 for _, spent_s in self.writes]),
            search_processor_us=_median([spent_s * 1e6 for _, spent_s in self.searches]),
        )


def _rate(runs: Sequence[tuple[WrkRun, float]]) -> float:
    return _median([one.requests / one.duration_us * 1e6 for one, _ in runs])


def _p99_ms(runs: Sequence[tuple[WrkRun, float]]) -> float:
    return _median([one.p99_us / 1000 for one, _ in runs], 2)


def _median(values: Sequence[float], digits: int = 1) -> float:
    return round(statistics.median(values), digits)


def parse_run(output: str, what: str) -> WrkRun:
    """Return the figures that our script printed last. Raises RagridError unless every request was a success."""
    try:
        result = msgspec.json.decode(output.strip().splitlines()[-1], type=WrkRun)
    except (IndexError, msgspec.MsgspecError) as error:
        raise RagridError(f"wrk: no figures for {what}; it said: {output[-500:]!r}") from error
    if result.refused or result.failed or not result.requests:
        counts = f"{result.refused} refused and {result.failed} failed of {result.requests}"
        raise RagridError(f"{what}: {counts} requests, wanted none; see `ragrid logs memory` and `ragrid logs gateway`")
    return result
