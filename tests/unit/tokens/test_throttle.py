from ragrid.services.tokens.throttle import FREE_FAILURES, LONGEST_PAUSE_S, REMEMBERED, Budget, Lockout
from ragrid.system.clock import ManualClock


def test_pauses_double_and_end() -> None:
    clock = ManualClock()
    lockout = Lockout(clock)
    for _ in range(FREE_FAILURES):
        lockout.failed("ada")
        assert lockout.pause_s("ada") == 0
    pauses = []
    for _ in range(12):
        lockout.failed("ada")
        pauses.append(lockout.pause_s("ada"))
        clock.advance(pauses[-1])
        assert lockout.pause_s("ada") == 0
    assert pauses[:4] == [1, 2, 4, 8]
    assert pauses[-1] == LONGEST_PAUSE_S


def test_a_right_secret_ends_the_pause_and_others_never_had_one() -> None:
    lockout = Lockout(ManualClock())
    for _ in range(FREE_FAILURES + 1):
        lockout.failed("ada")
    assert lockout.pause_s("ada") > 0
    assert lockout.pause_s("bob") == 0
    lockout.succeeded("ada")
    assert lockout.pause_s("ada") == 0


def test_a_million_names_take_no_more_room() -> None:
    lockout = Lockout(ManualClock())
    for number in range(REMEMBERED + 50):
        lockout.failed(str(number))
    assert len(lockout._failures) == REMEMBERED


def test_a_budget_refills_and_counts_what_it_refused() -> None:
    clock = ManualClock()
    budget = Budget(clock, per_s=2.0, burst=3)
    assert [budget.spend() for _ in range(5)] == [True, True, True, False, False]
    assert budget.left_out == 2
    clock.advance(0.5)
    assert [budget.spend() for _ in range(2)] == [True, False]
    clock.advance(3600)
    assert [budget.spend() for _ in range(4)] == [True, True, True, False]
