"""When a registry that says 'gone' is believed."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ragrid.registry.confirm import ConfirmedView, is_drastic, look_again_in_s, observe, unreachable
from ragrid.registry.protocol import Instance, Snapshot


def instances(service: str, count: int, *, port: int = 8000) -> tuple[Instance, ...]:
    return tuple(Instance(service, f"{service}-{number}", "127.0.0.1", port + number) for number in range(count))


def snapshot(*groups: tuple[Instance, ...]) -> Snapshot:
    return Snapshot(1, tuple(one for group in groups for one in group))


FULL = observe(ConfirmedView(), snapshot(instances("chromadb", 1), instances("memory", 4)), now_s=0.0)


def test_first_answer_is_believed_even_if_empty() -> None:
    assert observe(ConfirmedView(), snapshot(), now_s=0.0) == ConfirmedView()
    assert len(FULL.instances) == 5


def test_empty_answer_empties_nothing_until_it_is_confirmed() -> None:
    view = observe(FULL, snapshot(), now_s=100.0)
    assert view.instances == FULL.instances
    assert look_again_in_s(view, now_s=105.0) == 10.0
    view = observe(view, snapshot(), now_s=114.9)
    assert view.instances == FULL.instances
    assert observe(view, snapshot(), now_s=115.0) == ConfirmedView()


def test_full_answer_in_between_ends_the_doubt() -> None:
    view = observe(FULL, snapshot(), now_s=100.0)
    view = observe(view, snapshot(FULL.instances), now_s=107.0)
    assert look_again_in_s(view, now_s=107.0) is None
    assert observe(view, snapshot(), now_s=116.0).instances == FULL.instances


def test_gap_in_reachability_starts_the_doubt_anew() -> None:
    view = unreachable(observe(FULL, snapshot(), now_s=100.0))
    view = observe(view, snapshot(), now_s=120.0)
    assert view.instances == FULL.instances
    assert observe(view, snapshot(), now_s=135.0).instances == ()


def test_one_service_is_doubted_while_others_change_at_once() -> None:
    moved = instances("memory", 4, port=9000)
    view = observe(FULL, snapshot(moved), now_s=100.0)
    assert view.instances == (*instances("chromadb", 1), *moved)
    view = observe(view, snapshot(moved, instances("rag", 1)), now_s=101.0)
    assert {one.service for one in view.instances} == {"chromadb", "memory", "rag"}
    assert set(view.doubted_since_s) == {"chromadb"}


def test_small_losses_hold_at_once_and_the_last_instance_is_kept() -> None:
    view = FULL
    for count, kept in ((3, 3), (2, 2), (1, 1), (0, 1)):
        view = observe(view, snapshot(instances("chromadb", 1), instances("memory", count)), now_s=100.0)
        assert sum(one.service == "memory" for one in view.instances) == kept


def test_drastic() -> None:
    assert not any(is_drastic(old, new) for old, new in ((0, 0), (0, 5), (1, 1), (2, 1), (10, 5)))
    assert all(is_drastic(old, new) for old, new in ((1, 0), (3, 1), (10, 4)))


COUNTS = st.lists(st.tuples(st.floats(0.0, 14.0), st.integers(0, 8), st.booleans()), max_size=30)


@settings(max_examples=40)
@given(COUNTS)
def test_a_service_never_becomes_empty_without_fifteen_seconds_of_empty_answers(
    steps: list[tuple[float, int, bool]],
) -> None:
    view = observe(ConfirmedView(), snapshot(instances("memory", 2)), now_s=0.0)
    now_s = 0.0
    gone_since_s: float | None = None
    for wait_s, count, reachable in steps:
        now_s += wait_s
        if not reachable:
            view, gone_since_s = unreachable(view), None
            continue
        before = view
        view = observe(view, snapshot(instances("memory", count)), now_s=now_s)
        if not is_drastic(len(before.instances), count):
            gone_since_s = None
        elif gone_since_s is None:
            gone_since_s = now_s
        if before.instances and not view.instances:
            assert gone_since_s is not None
            assert now_s - gone_since_s >= 15.0
        if count >= len(before.instances):
            assert len(view.instances) == count
        if view.instances == () or len(view.instances) == count:
            gone_since_s = None
