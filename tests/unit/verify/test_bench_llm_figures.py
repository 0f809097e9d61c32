"""The figures of `ragrid bench llm` are what they say."""

from ragrid.verify.bench_llm import summarize


def test_what_is_added_is_the_median_of_the_pairs_differences() -> None:
    found = summarize([0.010, 0.030, 0.020], [0.011, 0.031, 0.050])
    assert found == {
        "pairs": 3,
        "first_byte_direct_ms": 20.0,
        "first_byte_gateway_ms": 31.0,
        "added_first_byte_ms": 1.0,
    }
