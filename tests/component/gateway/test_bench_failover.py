"""Endpoint changes, a kill and a hang under load: nothing is lost, and `ragrid bench failover` has the figures."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

from ragrid.verify.bench_failover import BETWEEN_CHANGES, bench_failover

CHANGES = 100


def test_a_hundred_changes_a_kill_and_a_hang_cost_no_idempotent_request(
    record_property: Callable[[str, object], None],
) -> None:
    def left_behind() -> list[Path]:
        return sorted(Path("/tmp").glob("ragrid-bench-*"))

    before, children = left_behind(), set(psutil.Process().children(recursive=True))
    found = bench_failover(rounds=1, changes=CHANGES)
    record_property("bench failover", json.dumps(found))
    sys.stdout.write(json.dumps({"bench failover": found}) + "\n")
    assert found["lost"] == 0, found["faults"]
    changes, kill, hang = found["changes"], found["kill"], found["hang"]
    assert (changes["changes"], changes["lost"], changes["stray"]) == (CHANGES, 0, 0)
    assert changes["requests"] >= CHANGES * BETWEEN_CHANGES, "too little load to show anything"
    assert (kill["lost"], hang["lost"]) == (0, 0)
    assert hang["released"] > 0, "nothing was on the instance when it hung"
    assert hang["writes_lost"] == 0
    assert {"out_ms", "slowest_ms", "back_ms"} <= set(kill)
    assert {"out_ms", "slowest_ms", "writes_held", "sent_for_ms", "back_ms"} <= set(hang)
    assert found["requests"] >= changes["requests"] + kill["requests"] + hang["requests"]
    assert left_behind() == before
    assert set(psutil.Process().children(recursive=True)) == children
