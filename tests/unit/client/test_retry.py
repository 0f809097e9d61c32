"""A call is repeated only where that cannot do a thing twice, and never sooner than the grid asked for."""

import pytest

from ragrid.client.calls import Repeat
from ragrid.client.refusals import NoAnswerError, RefusedError, UnavailableError, refusal, retry_after_s
from ragrid.client.retry import ONCE, Attempts, Retry, may_repeat
from ragrid.errors import AuthError, RagridError

NEVER_SENT = NoAnswerError("cannot connect", was_sent=False)
LOST = NoAnswerError("no answer in time", was_sent=True)


def unavailable(code: str = "unavailable", *, after_s: float | None = None) -> UnavailableError:
    return UnavailableError("away", status=503, code=code, retry_after_s=after_s)


def refused(status: int, *, after_s: float | None = None) -> RefusedError:
    return RefusedError("no", status=status, code="some-code", retry_after_s=after_s)


@pytest.mark.parametrize(
    ("error", "repeats"),
    [
        (NEVER_SENT, {"unsent", "always"}),
        (LOST, {"always"}),
        (unavailable(), {"always"}),
        (unavailable("overloaded"), {"unsent", "always"}),
        (unavailable("store-unavailable"), {"always"}),
        (refused(429), {"unsent", "always"}),
        (refused(412), set()),
        (refused(500), set()),
        (AuthError("no"), set()),
        (RagridError("not what was wanted"), set()),
    ],
)
def test_what_is_repeated(error: RagridError, repeats: set[Repeat]) -> None:
    every: tuple[Repeat, ...] = ("never", "unsent", "always")
    assert {one for one in every if may_repeat(one, error)} == repeats


def test_pauses_grow_and_end() -> None:
    attempts = Attempts(Retry(attempts=4, first_pause_s=0.2), "always", lambda: 0.0)
    assert [attempts.pause_s(LOST) for _ in range(4)] == [0.2, 0.4, 0.8, None]


def test_pauses_are_cut_by_chance_so_that_callers_do_not_come_back_together() -> None:
    assert Attempts(Retry(first_pause_s=1.0), "always", lambda: 1.0).pause_s(LOST) == 0.5


def test_no_pause_is_longer_than_the_longest() -> None:
    attempts = Attempts(Retry(attempts=9, first_pause_s=1.0, longest_pause_s=3.0), "always", lambda: 0.0)
    assert [attempts.pause_s(LOST) for _ in range(4)] == [1.0, 2.0, 3.0, 3.0]


def test_retry_after_is_kept_to_the_second() -> None:
    assert Attempts(Retry(), "unsent", lambda: 1.0).pause_s(refused(429, after_s=7)) == 7
    assert Attempts(Retry(), "always", lambda: 1.0).pause_s(unavailable(after_s=0)) == 0


def test_a_longer_retry_after_is_told_instead_of_slept() -> None:
    assert Attempts(Retry(longest_pause_s=20), "always", lambda: 0.0).pause_s(unavailable(after_s=21)) is None


def test_once_is_once() -> None:
    assert Attempts(ONCE, "always", lambda: 0.0).pause_s(NEVER_SENT) is None


def test_a_refusal_after_a_lost_answer_says_that_it_may_be_of_our_own_making() -> None:
    attempts = Attempts(Retry(), "always", lambda: 0.0)
    attempts.pause_s(LOST)
    conflict = refused(412)
    assert attempts.pause_s(conflict) is None
    assert "may be what did it" in conflict.__notes__[0]


def test_a_refusal_after_a_request_that_never_left_is_nobody_else_s() -> None:
    attempts = Attempts(Retry(), "always", lambda: 0.0)
    attempts.pause_s(NEVER_SENT)
    conflict = refused(412)
    attempts.pause_s(conflict)
    assert not hasattr(conflict, "__notes__")


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": " 0 "}, 0.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:47 GMT", "date": "Sun, 06 Nov 1994 08:49:37 GMT"}, 10.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT", "date": "Sun, 06 Nov 1994 08:49:47 GMT"}, 0.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "³"}, None),
        ({}, None),
    ],
)
def test_retry_after_in_both_forms(headers: dict[str, str], wanted: float | None) -> None:
    assert retry_after_s(headers) == wanted


def test_the_errors_carry_what_the_grid_asked_for() -> None:
    body = b'{"code":"too-many-requests","detail":"slow down","limit":5}'
    error = refusal("GET /x", 429, "application/problem+json", body, retry_after_s=2.0)
    assert isinstance(error, RefusedError)
    assert (error.retry_after_s, error.members["limit"]) == (2.0, 5)
