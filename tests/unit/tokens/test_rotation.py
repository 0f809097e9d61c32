"""Rotation is tried at every interruption and time jump; what must hold is written at the top of rotation.py."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragrid.services.tokens.rotation import KeyRecord, advance, ordered, promote_now, schedule_for

DAY_S = 86_400.0
SCHEDULE = schedule_for(DAY_S, longest_token_s=DAY_S)
START_S = 1_800_000_000.0
Keys = tuple[KeyRecord, ...]


class Names:
    """Fresh names, as many as are asked for."""

    def __init__(self) -> None:
        self.used = 0

    def two(self) -> tuple[str, str]:
        self.used += 2
        return f"k{self.used - 1:03}", f"k{self.used:03}"


def _step(keys: Keys, now_s: float, names: Names) -> Keys:
    return advance(keys, now_s, SCHEDULE, names.two())


def _current(keys: Keys) -> KeyRecord:
    (key,) = [key for key in keys if key.state == "current"]
    return key


def _next(keys: Keys) -> KeyRecord:
    (key,) = [key for key in keys if key.state == "next"]
    return key


def test_the_first_call_makes_a_key_that_signs_and_one_that_waits() -> None:
    keys = advance((), START_S, SCHEDULE, ("a", "b"))
    assert keys == (KeyRecord("b", "next", START_S), KeyRecord("a", "current", START_S, START_S))


def test_a_second_call_changes_nothing() -> None:
    names = Names()
    keys = _step((), START_S, names)
    assert _step(keys, START_S, names) == keys
    assert _step(keys, START_S + DAY_S - 1, names) == keys


def test_the_keys_change_on_the_day_and_the_old_one_outlives_its_tokens() -> None:
    names = Names()
    first = _step((), START_S, names)
    second = _step(first, START_S + DAY_S, names)
    assert _current(second).kid == _next(first).kid
    old = second[-1]
    assert (old.kid, old.state, old.retired_s) == (_current(first).kid, "previous", START_S + DAY_S)
    almost_s = START_S + DAY_S + SCHEDULE.hold_s - 1
    assert old.kid in {key.kid for key in _step(second, almost_s, names)}
    assert old.kid not in {key.kid for key in _step(second, almost_s + 1, names)}


def test_a_lost_result_is_simply_computed_again() -> None:
    names = Names()
    keys = _step((), START_S, names)
    lost = _step(keys, START_S + DAY_S, names)
    again = _step(keys, START_S + DAY_S + 2, names)
    assert _current(lost).kid == _current(again).kid == _next(keys).kid


def test_days_of_standstill_rotate_once_and_to_a_key_that_was_published() -> None:
    names = Names()
    keys = _step((), START_S, names)
    later = _step(keys, START_S + 10 * DAY_S, names)
    assert _current(later).kid == _next(keys).kid
    assert _step(later, START_S + 10 * DAY_S + 60, names) == later


def test_a_next_key_that_was_lost_is_published_before_it_signs() -> None:
    names = Names()
    first = _step((), START_S, names)
    without = tuple(key for key in first if key.state != "next")
    due_s = START_S + 2 * DAY_S
    mended = _step(without, due_s, names)
    assert _current(mended).kid == _current(first).kid
    assert _current(_step(mended, due_s + SCHEDULE.publish_ahead_s - 1, names)).kid == _current(first).kid
    assert _current(_step(mended, due_s + SCHEDULE.publish_ahead_s, names)).kid == _next(mended).kid


def test_a_current_key_that_was_lost_is_replaced_at_once() -> None:
    names = Names()
    first = _step((), START_S, names)
    mended = _step((_next(first),), START_S + 1, names)
    assert _current(mended).kid == _next(first).kid


def test_a_clock_set_back_holds_keys_longer_and_never_stops_rotation() -> None:
    names = Names()
    keys = _step(_step((), START_S, names), START_S + DAY_S, names)
    back_s = START_S - 365 * DAY_S
    held = _step(keys, back_s, names)
    assert {key.kid for key in held} == {key.kid for key in keys}
    assert all(key.created_s <= back_s for key in held)
    assert _current(_step(held, back_s + DAY_S, names)).kid == _next(keys).kid


def test_asked_for_rotation_keeps_the_old_key() -> None:
    keys = _step((), START_S, Names())
    after = promote_now(keys, START_S + 5, "new", drop_current=False)
    assert [(key.kid, key.state) for key in after] == [
        ("new", "next"), (_next(keys).kid, "current"), (_current(keys).kid, "previous"),
    ]  # fmt: skip


def test_a_leaked_key_is_gone_at_once() -> None:
    keys = _step((), START_S, Names())
    after = promote_now(keys, START_S + 5, "new", drop_current=True)
    assert _current(keys).kid not in {key.kid for key in after}
    assert _current(after).kid == _next(keys).kid


@pytest.mark.parametrize("rotation_s", [4.0, 600.0, DAY_S, 90 * DAY_S])
def test_a_schedule_publishes_ahead_and_holds_past_the_longest_token(rotation_s: float) -> None:
    schedule = schedule_for(rotation_s, longest_token_s=DAY_S)
    assert 0 < schedule.publish_ahead_s <= rotation_s / 4
    assert schedule.hold_s > DAY_S + 360


Move = tuple[str, float]
moves = st.lists(
    st.tuples(st.sampled_from(["wait", "wait", "wait", "lose", "promote"]), st.floats(1, 3 * DAY_S)), max_size=25
)


@given(moves)
def test_whatever_happens_no_live_token_loses_its_key(history: list[Move]) -> None:
    """Walks through waits, lost results and asked-for rotations; signs a longest token at every stop."""
    names, now_s = Names(), START_S
    keys = _step((), now_s, names)
    live: list[tuple[str, float]] = []
    published = {key.kid: START_S for key in keys}
    for move, seconds in history:
        now_s += seconds
        after = _step(keys, now_s, names)
        if move == "lose":
            continue
        keys = after if move == "wait" else promote_now(after, now_s, names.two()[0], drop_current=False)
        for key in keys:
            published.setdefault(key.kid, now_s)
        live = [(kid, end_s) for kid, end_s in live if end_s > now_s]
        known = {key.kid for key in keys}
        assert {kid for kid, _ in live} <= known
        live.append((_current(keys).kid, now_s + DAY_S))
        _next(keys)
        signing = _current(keys)
        if move == "wait" and signing.activated_s == now_s and signing.kid != "k001":
            assert now_s - published[signing.kid] >= SCHEDULE.publish_ahead_s


@given(st.lists(st.floats(-400 * DAY_S, 400 * DAY_S), max_size=15))
def test_any_jump_of_the_clock_leaves_one_current_and_one_next(jumps: list[float]) -> None:
    names, now_s = Names(), START_S
    keys = _step((), now_s, names)
    for jump_s in jumps:
        now_s = max(1.0, now_s + jump_s)
        keys = _step(keys, now_s, names)
        assert _current(keys).kid != _next(keys).kid
        assert all(key.created_s <= now_s for key in keys)
        assert keys == ordered(keys)
        assert _step(keys, now_s, names) == keys


def test_times_are_read_even_when_one_is_missing() -> None:
    names = Names()
    keys = tuple(replace(key, activated_s=None) for key in _step((), START_S, names))
    assert _current(_step(keys, START_S + DAY_S, names)).kid == _next(keys).kid
