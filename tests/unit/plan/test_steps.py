"""The plan: what it takes to turn what runs into what is wanted."""

from hypothesis import given
from hypothesis import strategies as st

from ragrid.drivers.memory import MemoryDriver
from ragrid.plan.steps import Action, Step, Wanted, diff

_NAMES = st.sampled_from("abcdef")
_SEEN = st.dictionaries(_NAMES, st.sampled_from(["", "1", "2"]))
_WANTED = st.dictionaries(_NAMES, st.sampled_from(["1", "2"])).map(
    lambda table: [Wanted(name, revision) for name, revision in table.items()]
)


def test_nothing_to_do_for_equal_revisions() -> None:
    assert diff([Wanted("a", "1")], {"a": "1"}) == ()


def test_stops_come_before_starts_and_starts_keep_the_order_of_dependence() -> None:
    steps = diff([Wanted("etcd", "1"), Wanted("agent", "2")], {"old": "1", "agent": "1"})
    assert steps == (Step(Action.STOP, "old"), Step(Action.START, "etcd", "1"), Step(Action.RESTART, "agent", "2"))


def test_only_what_can_take_new_files_is_reloaded() -> None:
    def change(seen: str, wanted: str) -> Action:
        return diff([Wanted("a", wanted)], {"a": seen})[0].action

    assert change("1/x", "1/y") is Action.RELOAD
    assert change("1/x", "2/x") is Action.RESTART
    assert change("1", "1/y") is Action.RELOAD  # it ran without files that could change
    assert change("", "1/y") is Action.RESTART
    assert change("1", "2") is Action.RESTART


@given(_WANTED, _SEEN, st.integers(0, 12))
def test_a_plan_cut_after_any_step_is_completed_by_the_next(
    wanted: list[Wanted], seen: dict[str, str], cut: int
) -> None:
    driver = MemoryDriver()
    for name, revision in seen.items():
        driver.run(Step(Action.START, name, revision))
    for step in diff(wanted, driver.observe())[:cut]:
        driver.run(step)
    for step in diff(wanted, driver.observe()):
        driver.run(step)
    assert driver.observe() == {part.name: part.revision for part in wanted}
    assert diff(wanted, driver.observe()) == ()
