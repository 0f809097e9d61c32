"""A plan is run in order and journalled, and one that is cut goes on where it stopped."""

import json
from pathlib import Path

import pytest

from ragrid.apply.run import Journal, apply
from ragrid.drivers.memory import MemoryDriver
from ragrid.errors import UnreachableError
from ragrid.plan.steps import Action, Step, Wanted, diff
from ragrid.system.clock import ManualClock

WANTED = [Wanted("etcd", "1"), Wanted("memory", "1"), Wanted("gateway", "1")]


class FailingDriver(MemoryDriver):
    """Refuses one part until it is mended."""

    broken = "memory"

    def run(self, step: Step) -> None:
        if step.part == self.broken:
            raise UnreachableError(f"{step.part}: does not start")
        super().run(step)


def lines(path: Path) -> list[tuple[str, str]]:
    return [(line["event"], line["part"]) for line in map(json.loads, path.read_text().splitlines())]


def test_every_step_is_journalled_before_and_after(tmp_path: Path) -> None:
    driver, journal = MemoryDriver(), Journal(tmp_path / "journal.jsonl", ManualClock())
    heard: list[tuple[int, str]] = []
    apply(diff(WANTED, {}), driver, journal, watch=lambda number, step: heard.append((number, step.part)))
    assert heard == [(1, "etcd"), (2, "memory"), (3, "gateway")]
    assert lines(tmp_path / "journal.jsonl")[:2] == [("begin", "etcd"), ("done", "etcd")]
    assert driver.observe() == {"etcd": "1", "memory": "1", "gateway": "1"}


def test_a_step_that_fails_ends_the_run_and_the_next_plan_goes_on_there(tmp_path: Path) -> None:
    driver, journal = FailingDriver(), Journal(tmp_path / "journal.jsonl", ManualClock())
    with pytest.raises(UnreachableError, match="memory: does not start"):
        apply(diff(WANTED, driver.observe()), driver, journal, watch=lambda _, __: None)
    assert lines(tmp_path / "journal.jsonl") == [("begin", "etcd"), ("done", "etcd"), ("begin", "memory")]
    driver.broken = ""
    steps = diff(WANTED, driver.observe())
    assert steps == (Step(Action.START, "memory", "1"), Step(Action.START, "gateway", "1"))
    apply(steps, driver, journal, watch=lambda _, __: None)
    assert diff(WANTED, driver.observe()) == ()


def test_nothing_to_do_writes_nothing(tmp_path: Path) -> None:
    apply((), MemoryDriver(), Journal(tmp_path / "journal.jsonl", ManualClock()), watch=lambda _, __: None)
    assert list(tmp_path.iterdir()) == []
