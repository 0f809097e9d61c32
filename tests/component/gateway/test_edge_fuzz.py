"""Malformed requests by the ten thousand against the real edge: no worker dies, and nothing passes that should not.

`RAGRID_FUZZ_SEED` repeats a run byte for byte; `RAGRID_FUZZ_REQUESTS` makes a longer one.
"""

import os
import random
import subprocess
from typing import Any
from urllib.parse import unquote

import pytest

from ragrid.gateway.route import Found, find_route
from ragrid.gateway.routes import POLICY
from support.flood import Flood
from support.malformed import attempts
from support.raw_edge import Received, Recorder

REQUESTS = int(os.environ.get("RAGRID_FUZZ_REQUESTS", "50000"))
#: What nginx says to a transfer coding (501) and a version (505) that it does not speak; it may fail in no other way.
DOCUMENTED = frozenset({501, 505})
_BAD_SIGNS = ("[alert]", "[crit]", "[emerg]", "entry thread aborted", "exited on signal", "attempt to ")


def _workers(edge: Any) -> set[int]:
    command = ["ps", "-o", "pid=", "--ppid", str(edge.process.pid)]
    return {int(pid) for pid in subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()}


def _fault(arrived: Received, token: str) -> str | None:
    """Why a request should not be behind the edge; the only token in the game may read memories and nothing else."""
    found = find_route(POLICY["memory"], arrived.method, unquote(arrived.target.partition("?")[0]))
    if not isinstance(found, Found) or found.route.permission != "memory:read":
        return "no route lets it through"
    [authorization] = arrived.values("authorization") or [""]
    if authorization.partition(" ")[2].strip() != token:
        return "its token is not the good one"
    if [name for name, _ in arrived.fields if name.startswith("x-ragrid")] or "hidden" in arrived.target:
        return "it says what only the edge may say, or was smuggled"
    once = ("host", "x-request-id", "x-forwarded-for")
    return next((f"{name} is not there once" for name in once if len(arrived.values(name)) != 1), None)


@pytest.mark.timeout(240)
def test_nothing_malformed_passes_and_no_worker_dies(edges: Any, endpoint: Any) -> None:
    seed = int(os.environ.get("RAGRID_FUZZ_SEED") or random.SystemRandom().randrange(1 << 32))
    again = f"again: RAGRID_FUZZ_SEED={seed} .venv/bin/pytest {os.path.relpath(__file__)}"
    print(again)  # noqa: T201 - pytest shows it when the test fails, and with -s
    edge, recorder = edges(), Recorder()
    try:
        edge.push({name: [endpoint(recorder.port)] for name in POLICY})
        token = edge.signer.token(aud=["memory"], scope="memory:read", roles=["reader"])
        before = _workers(edge)
        flood = Flood(edge.config.http_port, documented=DOCUMENTED)
        outcome = flood.run(attempts(seed, REQUESTS, token=token.encode()))
        arrived = [(_fault(one, token), one) for one in recorder.received]
    finally:
        recorder.stop()
    figures = f"{outcome.sent} sent, {outcome.statuses}, {outcome.unanswered} unanswered, {len(arrived)} arrived"
    print(figures)  # noqa: T201 - with -s
    assert [one for one in arrived if one[0]] == []
    assert recorder.strays == []
    assert outcome.failures == []
    assert outcome.good_refused == []
    assert outcome.hung == []
    assert _workers(edge) == before
    log = (edge.directory / "stderr.log").read_text(errors="replace")
    assert [line for line in log.splitlines() if any(sign in line for sign in _BAD_SIGNS)] == []
    # it was a test only if most was refused, and the good ones among it were served
    assert outcome.sent > REQUESTS
    assert outcome.statuses[400] + outcome.statuses[401] > REQUESTS // 3
    assert len(arrived) >= outcome.good > REQUESTS // 21
