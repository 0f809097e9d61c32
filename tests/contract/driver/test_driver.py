"""One meaning for every driver: the in-memory one passes what the local one passes with real processes."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragrid.drivers.local.driver import LocalDriver
from ragrid.drivers.local.layout import open_layout
from ragrid.drivers.local.part import Part, Port, Probe, Scrape
from ragrid.drivers.memory import MemoryDriver
from ragrid.drivers.protocol import Driver
from ragrid.plan.steps import Action, Step, Wanted, diff


def sleeper(name: str, seconds: int = 60) -> Part:
    return Part(
        name=name,
        version="1",
        command=("sleep", str(seconds)),
        ports=(Port("none", "127.0.0.1", 1),),
        probe=Probe("http://127.0.0.1:1/"),
        scrape=Scrape("127.0.0.1", 1),
    )


PARTS = (sleeper("one"), sleeper("two"), sleeper("three"))
WANTED = [Wanted(part.name, part.revision) for part in PARTS]


@pytest.fixture(params=["memory", "local"])
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    if request.param == "memory":
        yield MemoryDriver()
        return
    root = Path(tempfile.mkdtemp(dir="/tmp", prefix="ragrid-"))
    local = LocalDriver(open_layout(root / "state", "test"), PARTS, python=Path(sys.executable))
    try:
        local.start_supervisor()
        yield local
    finally:
        local.stop()
        shutil.rmtree(root)


def test_nothing_runs_at_first(driver: Driver) -> None:
    assert driver.observe() == {}


def test_started_parts_are_seen_with_their_revisions(driver: Driver) -> None:
    for step in diff(WANTED, driver.observe()):
        driver.run(step)
    assert driver.observe() == {part.name: part.revision for part in PARTS}
    assert diff(WANTED, driver.observe()) == ()


def test_a_step_run_twice_changes_nothing(driver: Driver) -> None:
    step = Step(Action.START, "one", PARTS[0].revision)
    driver.run(step)
    driver.run(step)
    assert driver.observe() == {"one": PARTS[0].revision}


def test_a_stopped_part_is_gone_and_stopping_it_again_is_no_error(driver: Driver) -> None:
    driver.run(Step(Action.START, "one", PARTS[0].revision))
    driver.run(Step(Action.STOP, "one"))
    driver.run(Step(Action.STOP, "one"))
    assert driver.observe() == {}


def test_a_plan_cut_after_each_step_converges(driver: Driver) -> None:
    for cut in range(len(PARTS)):
        for step in diff(WANTED, driver.observe())[:1]:
            driver.run(step)
        assert len(driver.observe()) == cut + 1
    assert diff(WANTED, driver.observe()) == ()
