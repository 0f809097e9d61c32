"""When the supervisor is started again, and under whose name."""

import itertools

from ragrid.agent.watchdog import LONGEST_PAUSE_S, Vigil, looked, must_start, started, supervisor_environment


def starts(answers: str) -> list[int]:
    """At which look (2 s apart) the supervisor was started, for looks that were answered (+) or refused (-)."""
    vigil, found = Vigil(), []
    for number, answer in enumerate(answers):
        vigil = looked(vigil, answered=answer == "+")
        if must_start(vigil, now_s=number * 2.0):
            found.append(number)
            vigil = started(vigil, now_s=number * 2.0)
    return found


def test_three_refusals_in_a_row_start_it_once() -> None:
    assert starts("++--+--++") == []
    assert starts("++---+++++") == [4]


def test_starts_that_do_not_help_come_ever_more_seldom() -> None:
    found = starts("-" * 1000)
    pauses_s = [2.0 * (later - earlier) for earlier, later in itertools.pairwise(found)]
    assert pauses_s[:5] == [10.0, 20.0, 40.0, 80.0, 160.0]
    assert set(pauses_s[5:]) == {LONGEST_PAUSE_S}


def test_answer_sets_the_pause_back() -> None:
    assert starts("---" + "--" + "+" + "---") == [2, 8]


def test_supervisor_never_carries_the_mark_of_the_agent() -> None:
    own = {"RAGRID_PART": "/state/a:b:agent", "PATH": "/bin"}
    assert supervisor_environment(own) == {"RAGRID_PART": "/state/a:b:supervisor", "PATH": "/bin"}
    assert supervisor_environment({"PATH": "/bin"}) == {"PATH": "/bin"}
