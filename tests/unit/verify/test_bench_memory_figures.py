"""What wrk said becomes figures only when every request was a success."""

import pytest

from ragrid.errors import RagridError
from ragrid.verify.bench_memory import parse_run

GOOD = '{"requests":1000,"duration_us":2000000,"refused":0,"failed":0,"p50_us":900,"p99_us":4000}'


def test_the_last_line_is_read() -> None:
    run = parse_run(f"Running 4s test\n  12 threads\n\n{GOOD}\n", "reads")
    assert (run.requests, run.p99_us) == (1000, 4000)


@pytest.mark.parametrize(
    ("output", "says"),
    [
        (GOOD.replace('"refused":0', '"refused":7'), "7 refused"),
        (GOOD.replace('"failed":0', '"failed":3'), "3 failed"),
        (GOOD.replace("1000,", "0,", 1), "of 0"),
        ("unable to connect to 127.0.0.1:3000 Connection refused\n", "Connection refused"),
        ("", "no figures"),
    ],
)
def test_anything_else_gives_no_figure(output: str, says: str) -> None:
    with pytest.raises(RagridError, match=says):
        parse_run(output, "reads")
