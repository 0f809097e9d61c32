"""What the edge costs: the same load, in turns, through a plain nginx proxy and through the edge (`edge_arena.py`).

The edge does all it does in production: ES256 tokens (several, in turn), scope and role, revocation, limits, balancing,
health checks, metrics. Both are measured without TLS and with it, as fast as they can and at a fixed rate.
"""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragrid.errors import RagridError
from ragrid.system.process import find_program, run
from ragrid.verify.edge_arena import Arena, Proxy, open_arena

CONNECTIONS = 32
#: Each connection waits so long before it asks again: about 1,000 requests a second.
PACED_WAIT_MS = 32


def bench_edge(*, rounds: int = 5, seconds_per_round: float = 2.0) -> dict[str, Any]:
    """Return the throughput of the edge as a ratio of the plain proxy's, and the figures of both.

    `tls` is the same with TLS on both sides. `ratio` is the median of the rounds' ratios, because neighbours on the
    machine change between rounds but seldom within one. `added_p50_ms` is what the edge adds to the median latency at
    about 1,000 requests a second. Raises MissingError without nginx or wrk, RagridError when any request was not
    answered with 200.
    """
    wrk = find_program("wrk", package="wrk")
    found = {
        is_tls: _bench(wrk, is_tls=is_tls, rounds=rounds, seconds=seconds_per_round / 2) for is_tls in (False, True)
    }
    return {**found[False], "tls": found[True]}


def _bench(wrk: Path, *, is_tls: bool, rounds: int, seconds: float) -> dict[str, Any]:
    with open_arena(is_tls=is_tls) as arena:
        for proxy in (arena.plain, arena.edge):
            _measure(wrk, arena, proxy, seconds=0.5)
        pairs: list[tuple[Measured, Measured]] = []
        paced: list[float] = []
        for number in range(rounds):
            # there and back again, so that what slows the machine down steadily hits both alike
            first, second = (arena.plain, arena.edge) if number % 2 == 0 else (arena.edge, arena.plain)
            runs = [(proxy, _measure(wrk, arena, proxy, seconds=seconds)) for proxy in (first, second, second, first)]
            plain, edge = (_mean([run for one, run in runs if one is proxy]) for proxy in (arena.plain, arena.edge))
            pairs.append((plain, edge))
            slow = {one.name: _measure(wrk, arena, one, seconds=seconds, is_paced=True) for one in (first, second)}
            paced.append(slow["edge"].p50_ms - slow["plain"].p50_ms)
    return {**summarize(pairs), "added_p50_ms": round(statistics.median(paced), 3)}


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of wrk against one proxy; `cpu_us` is the proxy's processor time for each request."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float


def _mean(runs: Sequence[Measured]) -> Measured:
    return Measured(
        requests_per_s=statistics.fmean(one.requests_per_s for one in runs),
        p50_ms=statistics.fmean(one.p50_ms for one in runs),
        p99_ms=statistics.fmean(one.p99_ms for one in runs),
        cpu_us=statistics.fmean(one.cpu_us for one in runs),
    )


def summarize(pairs: Sequence[tuple[Measured, Measured]]) -> dict[str, Any]:
    """Return the documented object from (plain, edge) pairs."""
    rounds = [
        {
            "plain_requests_per_s": round(plain.requests_per_s),
            "edge_requests_per_s": round(edge.requests_per_s),
            "ratio": round(edge.requests_per_s / plain.requests_per_s, 3),
        }
        for plain, edge in pairs
    ]
    return {
        "ratio": round(statistics.median(one["ratio"] for one in rounds), 3),
        "plain": _medians([plain for plain, _ in pairs]),
        "edge": _medians([edge for _, edge in pairs]),
        "rounds": rounds,
    }


def _medians(runs: Sequence[Measured]) -> dict[str, float]:
    return {
        "requests_per_s": round(statistics.median(one.requests_per_s for one in runs)),
        "p50_ms": round(statistics.median(one.p50_ms for one in runs), 3),
        "p99_ms": round(statistics.median(one.p99_ms for one in runs), 3),
        # the least: neighbours on the machine can only add to it
        "cpu_us_per_request": round(min(one.cpu_us for one in runs), 1),
    }


def _measure(wrk: Path, arena: Arena, proxy: Proxy, *, seconds: float, is_paced: bool = False) -> Measured:
    script = arena.directory / "load.lua"
    script.write_text(_wrk_script(arena.tokens, wait_ms=PACED_WAIT_MS if is_paced else 0))
    before_s = proxy.cpu_s()
    command = (
        *(str(wrk), "-t", "1", "-c", str(CONNECTIONS), "-d", f"{max(1, round(seconds))}s"),
        *("-s", str(script), proxy.url),
    )
    said = json.loads(run(command, timeout_s=seconds + 20).stdout.strip().splitlines()[-1])
    if said["errors"] or not said["requests"]:
        raise RagridError(f"bench: {proxy.name}: {said['errors']} of {said['requests']} requests failed; not a result")
    return Measured(
        requests_per_s=said["requests"] / (said["duration_us"] / 1e6),
        p50_ms=said["p50_us"] / 1000,
        p99_ms=said["p99_us"] / 1000,
        cpu_us=(proxy.cpu_s() - before_s) * 1e6 / said["requests"],
    )


def _wrk_script(tokens: Sequence[str], *, wait_ms: int) -> str:
    """Return a script that sends the tokens in turn and prints one line of JSON at the end."""
    requests = ",\n".join(f'wrk.format("GET", nil, {{["Authorization"] = "Bearer {token}"}})' for token in tokens)
    delay = f"function delay() return {wait_ms} end" if wait_ms else ""
    return f"""\
local requests
local turn = 0
function init() requests = {{ {requests} }} end
{delay}
function request() turn = turn % #requests + 1; return requests[turn] end
function done(summary, latency)
  local e = summary.errors
  local errors = e.connect + e.read + e.write + e.status + e.timeout
  print(string.format('{{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"errors":%d}}', summary.requests,
    summary.duration, latency:percentile(50), latency:percentile(99), errors))
end
"""
