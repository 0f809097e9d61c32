"""What wrk said becomes figures only when every request was a success; steps become a slope."""

import msgspec
import pytest

from ragrid.errors import RagridError
from ragrid.verify.memory_figures import Collected, Figures, Step, parse_run, slope, steps_to
from ragrid.verify.memory_texts import Model, memories_of, questions_of

GOOD = '{"requests":1000,"duration_us":2000000,"refused":0,"failed":0,"p50_us":900,"p99_us":4000}'
MODEL = Model("all-MiniLM-L6-v2", 384)


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


def test_figures_are_medians_over_the_rounds() -> None:
    collected, run = Collected(), parse_run(GOOD, "reads")
    collected.reads = [(run, 0.000_05), (run, 0.000_07), (run, 0.009)]
    collected.writes = [(msgspec.structs.replace(run, p99_us=9000), 0.0002)]
    collected.searches = [([0.001, 0.002, 0.009], 0.01), ([0.003, 0.004, 0.005], 0.02), ([0.001, 0.004, 0.007], 0.02)]
    figures = collected.figures()
    assert (figures.reads_per_s, figures.read_p99_ms, figures.read_processor_us) == (500, 4, 70)
    assert (figures.write_p99_ms, figures.write_processor_us) == (9, 200)
    assert (figures.search_p50_ms, figures.search_p99_ms, figures.search_processor_us) == (4, 7, 20_000)


@pytest.mark.parametrize(
    ("memories", "steps"),
    [(2000, [2000]), (10_000, [10_000]), (50_000, [10_000, 50_000]), (1_000_000, [10_000, 100_000, 1_000_000])],
)
def test_steps_are_powers_of_ten(memories: int, steps: list[int]) -> None:
    assert steps_to(memories) == steps


def test_the_slope_is_by_what_a_tenfold_multiplies() -> None:
    few = Figures(**dict.fromkeys(Figures.__struct_fields__, 100.0))
    many = msgspec.structs.replace(few, search_p50_ms=400.0, reads_per_s=25.0)
    steps = [
        Step(memories=count, filled_per_s=1, resident_mib=1, alone=alone, through_gateway=few)
        for count, alone in ((10_000, few), (100_000, few), (1_000_000, many))
    ]
    found = slope(steps)
    assert found is not None
    assert (found.search_p50_ms, found.reads_per_s, found.write_p99_ms) == (2, 0.5, 1)
    assert slope(steps[:1]) is None


def test_memories_and_questions_are_the_same_each_time_and_differ_among_one_another() -> None:
    block = memories_of(7, range(500, 600), model=MODEL, ttl_s=60)
    assert block == memories_of(7, range(500, 600), model=MODEL, ttl_s=60)
    assert len({one["content"] for one in block}) == len({str(one["embedding"]) for one in block}) == len(block) == 100
    assert {len(one["embedding"]["values"]) for one in block} == {384}
    assert 400 < sum(len(one["content"]) for one in block) / len(block) < 600
    assert "embedding" not in memories_of(7, range(500, 501), model=None, ttl_s=60)[0]
    assert len(set(questions_of(1, 50)) | set(questions_of(2, 50))) == 100
