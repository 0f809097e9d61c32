"""How many reads and durable writes a second the memory service of a running grid does, alone and through the gateway.

Rounds alternate between the two addresses, so that what else the machine does weighs on both alike; figures are
medians. What is written lies in a namespace of its own and expires by itself, also when the benchmark is cut short.
"""

import asyncio
import secrets
import ssl
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import httpx
import msgspec

from ragrid.errors import RagridError, UnreachableError
from ragrid.system.process import find_program, run

CONNECTIONS = 64
#: Keys that reads are spread over, unless somebody wants more.
MEMORIES = 2000
#: Memories that one request of the preparation writes.
BATCH = 500
#: What the benchmark writes is gone after this, seconds: longer than any run of it takes.
TTL_S = 900
#: wrk ends by itself; when it does not, it is killed this long after, seconds.
PATIENCE_S = 30.0

_PATH = "/memory/v1/memories"


@dataclass(frozen=True)
class Target:
    """One address of the memory service, without a path, and a token that may read and write there."""

    url: str
    token: str


class Figures(msgspec.Struct, frozen=True):
    """What one address does: requests a second, and the time within which 99 of 100 were answered, milliseconds."""

    reads_per_s: float
    writes_per_s: float
    read_p99_ms: float
    write_p99_ms: float


class MemoryBench(Figures, frozen=True):
    """The document of `ragrid bench memory --json`: the service alone, and the same through the gateway."""

    through_gateway: Figures
    connections: int
    rounds: int
    memories: int


class _Run(msgspec.Struct, frozen=True):
    """What wrk said about one run."""

    requests: int
    duration_us: int
    refused: int
    failed: int
    p50_us: int
    p99_us: int


def bench_memory(
    *,
    direct: Target,
    gateway: Target,
    ca_file: Path | None = None,
    rounds: int = 3,
    seconds: int = 4,
    memories: int = MEMORIES,
    tell: Callable[[str], None] = lambda _: None,
) -> MemoryBench:
    """Measure both addresses in `rounds` alternating rounds of `seconds` for each of reads and writes.

    Reads are spread over `memories` that are written before. `tell` hears what is under way. Raises MissingError
    without wrk, UnreachableError when an address does not answer, RagridError when a request was refused: then there
    is no figure.
    """
    wrk = find_program("wrk", package="wrk")
    namespace = f"bench-{secrets.token_hex(4)}"
    targets = {"direct": direct, "gateway": gateway}
    tell(f"writing {memories} memories to read into namespace {namespace}")
    asyncio.run(_seed(gateway, namespace, ca_file, memories))
    runs: dict[tuple[str, str], list[_Run]] = {(name, mode): [] for name in targets for mode in ("read", "write")}
    for number in range(1, rounds + 1):
        for mode in ("read", "write"):
            for name, target in targets.items():
                tell(f"round {number} of {rounds}: {mode}s, {name}")
                runs[name, mode].append(_measure(wrk, target, mode, namespace, seconds=seconds, memories=memories))
    alone = _figures(runs["direct", "read"], runs["direct", "write"])
    return MemoryBench(
        reads_per_s=alone.reads_per_s,
        writes_per_s=alone.writes_per_s,
        read_p99_ms=alone.read_p99_ms,
        write_p99_ms=alone.write_p99_ms,
        through_gateway=_figures(runs["gateway", "read"], runs["gateway", "write"]),
        connections=CONNECTIONS,
        rounds=rounds,
        memories=memories,
    )


def _measure(wrk: Path, target: Target, mode: str, namespace: str, *, seconds: int, memories: int) -> _Run:
    """Run wrk once. The token travels in the environment, where no list of processes shows it."""
    environment = {
        "MODE": mode,
        "TOKEN": target.token,
        "NAMESPACE": namespace,
        "MEMORIES": str(memories),
        "TTL_S": str(TTL_S),
        "SALT": secrets.token_hex(4),
    }
    with resources.as_file(resources.files("ragrid.verify") / "memory_load.lua") as script:
        load = (f"-c{CONNECTIONS}", "-t1", f"-d{seconds}s", "--timeout", "10s", "-s", str(script))
        done = run((str(wrk), *load, target.url), timeout_s=seconds + PATIENCE_S, environment=environment)
    return parse_run(done.stdout, f"{mode}s at {target.url}")


def parse_run(output: str, what: str) -> _Run:
    """Return the figures that our script printed last. Raises RagridError unless every request was a success."""
    try:
        result = msgspec.json.decode(output.strip().splitlines()[-1], type=_Run)
    except (IndexError, msgspec.MsgspecError) as error:
        raise RagridError(f"wrk: no figures for {what}; it said: {output[-500:]!r}") from error
    if result.refused or result.failed or not result.requests:
        counts = f"{result.refused} refused and {result.failed} failed of {result.requests}"
        raise RagridError(f"{what}: {counts} requests, wanted none; see `ragrid logs memory` and `ragrid logs gateway`")
    return result


def _figures(reads: Sequence[_Run], writes: Sequence[_Run]) -> Figures:
    def rate(runs: Sequence[_Run]) -> float:
        return round(statistics.median(one.requests / one.duration_us * 1e6 for one in runs), 1)

    def p99_ms(runs: Sequence[_Run]) -> float:
        return round(statistics.median(one.p99_us for one in runs) / 1000, 2)

    return Figures(rate(reads), rate(writes), p99_ms(reads), p99_ms(writes))


async def _seed(target: Target, namespace: str, ca_file: Path | None, memories: int) -> None:
    """Write the memories that will be read, at keys k0, k1, …, over a connection whose certificate is checked."""
    trust = ssl.create_default_context(cafile=ca_file) if ca_file else True
    headers = {"authorization": f"Bearer {target.token}", "memory-namespace": namespace}
    async with httpx.AsyncClient(base_url=target.url, headers=headers, verify=trust, timeout=60) as client:
        for first in range(0, memories, BATCH):
            await _put(client, range(first, min(first + BATCH, memories)))


async def _put(client: httpx.AsyncClient, numbers: range) -> None:
    operations = [{"op": "put", "id": f"k{number}", "memory": _memory(number)} for number in numbers]
    try:
        answer = await client.post(f"{_PATH}/batch", json={"operations": operations, "atomic": True})
    except httpx.HTTPError as error:
        raise UnreachableError(f"{client.base_url}: {error!r}; run `ragrid status`") from error
    if not answer.is_success:
        raise RagridError(f"{client.base_url}: a write was refused with {answer.status_code}: {answer.text[:300]}")


def _memory(number: int) -> dict[str, object]:
    return {"content": f"memory {number} " + f"word{number % 97} " * 60, "ttl_seconds": TTL_S, "user_id": "bench"}
