"""`ragrid bench edge` measures real programs and cleans up after itself."""

from pathlib import Path

import psutil

from ragrid.verify.bench_edge import bench_edge


def test_one_short_round_gives_the_documented_object() -> None:
    def left_behind() -> list[Path]:
        return sorted(Path("/tmp").glob("ragrid-bench-*"))

    before, children = left_behind(), set(psutil.Process().children(recursive=True))
    found = bench_edge(rounds=1, seconds_per_round=2.0)
    assert set(found) == {"ratio", "plain", "edge", "rounds", "added_p50_ms", "tls"}
    for one in (found, found["tls"]):
        assert one["ratio"] > 0
        assert len(one["rounds"]) == 1
        for side in ("plain", "edge"):
            assert {"requests_per_s", "p50_ms", "p99_ms", "cpu_us_per_request"} <= set(one[side])
            assert one[side]["requests_per_s"] > 0
    assert left_behind() == before
    assert set(psutil.Process().children(recursive=True)) == children
