"""What `ragrid bench failover` calls a stray."""

from ragrid.verify.bench_failover import Span, strays
from ragrid.verify.counting_client import Answer

SPANS = (Span(1.0, ("a",), ended_s=2.0), Span(2.5, ("b", "c")))


def test_a_stray_is_answered_by_what_a_change_had_taken_out() -> None:
    assert strays([Answer(1.1, 1.2, "a"), Answer(2.6, 2.7, "b"), Answer(9.0, 9.1, "c")], SPANS) == 0
    assert strays([Answer(1.1, 1.2, "b"), Answer(9.0, 9.1, "a")], SPANS) == 2


def test_who_may_answer_while_a_change_is_made_is_open() -> None:
    assert strays([Answer(1.9, 2.1, "b"), Answer(2.2, 2.6, "a"), Answer(0.5, 1.1, "c")], SPANS) == 0
