"""No part ever runs twice, whoever is killed; and nothing is left after a stop."""

import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ragrid.drivers.local.driver import SUPERVISOR, LocalDriver
from ragrid.drivers.local.layout import open_layout
from ragrid.drivers.local.part import Part, Port, Probe, Scrape
from ragrid.drivers.local.supervisor import render_program
from ragrid.plan.steps import Action, Step
from ragrid.system import owned

#: A part with two children: one that ignores SIGTERM, as a hung worker of nginx would, and one that has neither the
#: part's environment nor its lock, as vLLM's engine has.
PARENT = (
    "import os,signal,subprocess,sys,time;"
    "subprocess.Popen(['sleep', '120'], env={}, close_fds=True);"
    "os.fork() or signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "time.sleep(120)"
)
PROCESSES = 3


@pytest.fixture
def driver() -> Iterator[LocalDriver]:
    root = Path(tempfile.mkdtemp(dir="/tmp", prefix="ragrid-"))
    part = Part(
        name="part",
        version="1",
        command=(sys.executable, "-c", PARENT),
        ports=(Port("none", "127.0.0.1", 1),),
        probe=Probe("http://127.0.0.1:1/"),
        scrape=Scrape("127.0.0.1", 1),
        stop_wait_s=1.0,
    )
    local = LocalDriver(open_layout(root / "state", "test"), [part], python=Path(sys.executable))
    try:
        local.start_supervisor()
        local.run(Step(Action.START, "part", part.revision))
        eventually(lambda: census(local) == {SUPERVISOR: 1, "part": PROCESSES})
        yield local
    finally:
        local.stop()
        shutil.rmtree(root)


def census(driver: LocalDriver) -> Counter[str]:
    return Counter(owned.parts_running(driver.layout.root).values())


def pids(driver: LocalDriver, part: str) -> set[int]:
    return {pid for pid, name in owned.parts_running(driver.layout.root).items() if name == part}


def eventually(claim: Callable[[], bool], limit_s: float = 20.0) -> None:
    deadline = time.monotonic() + limit_s
    while not claim():
        assert time.monotonic() < deadline, "not within the limit"
        time.sleep(0.05)


def test_a_part_that_dies_is_started_again_and_its_children_are_ended(driver: LocalDriver) -> None:
    before = pids(driver, "part")
    os.kill(min(before), signal.SIGKILL)
    eventually(lambda: census(driver)["part"] == PROCESSES and not before & pids(driver, "part"))


def test_a_killed_supervisor_leaves_the_parts_running_and_its_successor_adopts_them(driver: LocalDriver) -> None:
    before = pids(driver, "part")
    for _ in range(2):  # the second time, the stand-in of the first is a leftover itself
        (supervisor,) = pids(driver, SUPERVISOR)
        os.kill(supervisor, signal.SIGKILL)
        eventually(lambda: census(driver)[SUPERVISOR] == 0)
        assert before <= pids(driver, "part")
        assert driver.start_supervisor()
        eventually(lambda: before < pids(driver, "part") and census(driver) == {SUPERVISOR: 1, "part": PROCESSES + 1})
    os.kill(min(before), signal.SIGKILL)
    eventually(lambda: not before & pids(driver, "part") and census(driver) == {SUPERVISOR: 1, "part": PROCESSES})


def test_an_adopted_part_is_stopped_like_any_other(driver: LocalDriver) -> None:
    (supervisor,) = pids(driver, SUPERVISOR)
    os.kill(supervisor, signal.SIGKILL)
    eventually(lambda: census(driver)[SUPERVISOR] == 0)
    driver.start_supervisor()
    eventually(lambda: census(driver)["part"] == PROCESSES + 1)
    driver.run(Step(Action.STOP, "part"))
    assert census(driver) == {SUPERVISOR: 1}


def test_a_part_of_another_command_is_ended_and_not_adopted(driver: LocalDriver) -> None:
    before = pids(driver, "part")
    (supervisor,) = pids(driver, SUPERVISOR)
    os.kill(supervisor, signal.SIGKILL)
    eventually(lambda: census(driver)[SUPERVISOR] == 0)
    changed = replace(driver.parts[0], command=(sys.executable, "-c", PARENT + " "))
    successor = LocalDriver(driver.layout, [changed], python=Path(sys.executable))
    program = driver.layout.etc / "programs" / "part.conf"
    program.write_bytes(render_program(driver.layout, changed, Path(sys.executable)))
    successor.start_supervisor()
    eventually(lambda: not before & pids(driver, "part") and census(driver) == {SUPERVISOR: 1, "part": PROCESSES})


def test_a_second_start_of_the_supervisor_is_no_second_supervisor(driver: LocalDriver) -> None:
    assert not driver.start_supervisor()
    assert census(driver)[SUPERVISOR] == 1


def test_a_hung_supervisor_is_replaced(driver: LocalDriver) -> None:
    (supervisor,) = pids(driver, SUPERVISOR)
    os.kill(supervisor, signal.SIGSTOP)
    assert not driver.control.is_alive()
    assert driver.start_supervisor()
    assert supervisor not in pids(driver, SUPERVISOR)
    eventually(lambda: census(driver)[SUPERVISOR] == 1 and census(driver)["part"] >= PROCESSES)


def test_stop_leaves_no_process_even_when_the_supervisor_is_dead(driver: LocalDriver) -> None:
    (supervisor,) = pids(driver, SUPERVISOR)
    os.kill(supervisor, signal.SIGKILL)
    assert driver.stop() == ("part",)
    assert not census(driver)


def test_a_stopped_process_is_ended_too(driver: LocalDriver) -> None:
    for pid in pids(driver, "part"):
        os.kill(pid, signal.SIGSTOP)
    driver.stop()
    assert not census(driver)
