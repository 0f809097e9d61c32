"""When a registry that says 'gone' is believed."""

from hypothesis import given
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


def test_an_empty_answer_never_empties_a_service_however_often_it_comes() -> None:
    view = FULL
    for now_s in (100.0, 116.0, 1_000.0, 100_000.0):
        view = observe(view, snapshot(), now_s=now_s)
        assert view.instances == FULL.instances
        assert view.kept == {"chromadb", "memory"}
        assert look_again_in_s(view, now_s=now_s) is None


def test_what_comes_back_elsewhere_replaces_what_was_kept() -> None:
    moved = instances("memory", 2, port=9000)
    view = observe(observe(FULL, snapshot(), now_s=100.0), snapshot(moved), now_s=101.0)
    assert view.instances == (*instances("chromadb", 1), *moved)
    assert view.kept == {"chromadb"}


def test_a_loss_of_most_instances_is_believed_when_it_is_confirmed() -> None:
    view = observe(FULL, snapshot(instances("memory", 1)), now_s=100.0)
    assert view.instances == FULL.instances
    assert look_again_in_s(view, now_s=105.0) == 10.0
    view = observe(view, snapshot(instances("memory", 1)), now_s=114.9)
    assert view.instances == FULL.instances
    view = observe(view, snapshot(instances("memory", 1)), now_s=115.0)
    assert view.instances == (*instances("chromadb", 1), *instances("memory", 1))


def test_full_answer_in_between_ends_the_doubt() -> None:
    few = snapshot(instances("memory", 1))
    view = observe(FULL, few, now_s=100.0)
    view = observe(view, snapshot(FULL.instances), now_s=107.0)
    assert look_again_in_s(view, now_s=107.0) is None
    assert observe(view, few, now_s=116.0).instances == FULL.instances


def test_gap_in_reachability_starts_the_doubt_anew() -> None:
    few = snapshot(instances("chromadb", 1), instances("memory", 1))
    view = unreachable(observe(FULL, few, now_s=100.0))
    view = observe(view, few, now_s=120.0)
    assert view.instances == FULL.instances
    assert len(observe(view, few, now_s=135.0).instances) == 2


def test_one_service_is_doubted_while_others_change_at_once() -> None:
    moved = instances("memory", 4, port=9000)
    few = instances("memory", 1)
    full = observe(FULL, snapshot(instances("chromadb", 1), moved), now_s=99.0)
    view = observe(full, snapshot(instances("chromadb", 1, port=7000), few, instances("rag", 1)), now_s=100.0)
    assert view.instances == (*instances("chromadb", 1, port=7000), *moved, *instances("rag", 1))
    assert set(view.doubted_since_s) == {"memory"}


def test_small_losses_hold_at_once_and_the_last_instance_is_kept() -> None:
    view = FULL
    for count, kept in ((3, 3), (2, 2), (1, 1), (0, 1)):
        view = observe(view, snapshot(instances("chromadb", 1), instances("memory", count)), now_s=100.0)
        assert sum(one.service == "memory" for one in view.instances) == kept


def test_drastic() -> None:
    assert not any(is_drastic(old, new) for old, new in ((0, 0), (0, 5), (1, 1), (2, 1), (10, 5)))
    assert all(is_drastic(old, new) for old, new in ((3, 1), (10, 4)))


COUNTS = st.lists(st.tuples(st.floats(0.0, 14.0), st.integers(0, 8), st.booleans()), max_size=30)


@given(COUNTS)
def test_a_service_never_becomes_empty_and_loses_most_only_after_fifteen_seconds_of_the_same(
    steps: list[tuple[float, int, bool]],
) -> None:
    view = observe(ConfirmedView(), snapshot(instances("memory", 6)), now_s=0.0)
    now_s = 0.0
    few_since_s: float | None = None
    for wait_s, count, reachable in steps:
        now_s += wait_s
        if not reachable:
            view, few_since_s = unreachable(view), None
            continue
        before = len(view.instances)
        view = observe(view, snapshot(instances("memory", count)), now_s=now_s)
        assert view.instances
        if not 0 < count * 2 < before:
            few_since_s = None
        elif few_since_s is None:
            few_since_s = now_s
        if len(view.instances) * 2 < before:
            assert few_since_s is not None
            assert now_s - few_since_s >= 15.0
            few_since_s = None
        if count * 2 >= before and count:
            assert len(view.instances) == count
