"""The figures of `ragrid bench edge` are what they say."""

from ragrid.verify.bench_edge import Measured, summarize


def test_the_ratio_is_the_median_of_the_rounds() -> None:
    plain, slow = Measured(1000.0, 1.0, 5.0, 20.0), Measured(500.0, 2.0, 9.0, 40.0)
    found = summarize(
        [(plain, Measured(900.0, 1.1, 6.0, 25.0)), (plain, slow), (plain, Measured(880.0, 1.2, 7.0, 26.0))]
    )
    assert found["ratio"] == 0.88
    assert found["plain"] == {"requests_per_s": 1000, "p50_ms": 1.0, "p99_ms": 5.0, "cpu_us_per_request": 20.0}
    assert found["edge"]["requests_per_s"] == 880
    assert [one["ratio"] for one in found["rounds"]] == [0.9, 0.5, 0.88]
