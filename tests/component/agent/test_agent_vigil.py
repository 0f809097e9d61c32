"""The vigil over the supervisor, with a real process behind a real unix socket."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ragrid.agent import watchdog
from ragrid.system.clock import SystemClock
from support.agent_rig import eventually

#: Serves a unix socket, and writes down who it is.
PROGRAM = """
import os, socket, sys, time
path = sys.argv[1]
open(path + ".pids", "a").write(f"{os.getpid()} {os.getsid(0) == os.getpid()} {os.environ.get('RAGRID_PART')}\\n")
if os.path.exists(path): os.unlink(path)
server = socket.socket(socket.AF_UNIX); server.bind(path); server.listen()
while True: server.accept()[0].close()
"""


@pytest.fixture
def socket_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        path = Path(folder) / "s.sock"
        yield path
        for pid in pids(path):
            with contextlib.suppress(psutil.NoSuchProcess):
                one = psutil.Process(pid)
                if str(path) in one.cmdline():
                    one.kill()
                    one.wait(timeout=10)


def pids(path: Path) -> list[int]:
    return [int(line.split()[0]) for line in written(path).splitlines()]


def written(path: Path) -> str:
    """What the program wrote down about itself, one line a start."""
    try:
        return Path(f"{path}.pids").read_text()
    except FileNotFoundError:
        return ""


# Python warns of a child that outlives its Popen object, and here that is the point.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
async def test_dead_supervisor_is_started_detached_and_once(socket_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "LOOK_EVERY_S", 0.2)
    monkeypatch.setattr(watchdog, "FIRST_PAUSE_S", 5.0)
    monkeypatch.setenv("RAGRID_PART", f"{socket_path.parent}:agent")
    starts: list[int] = []
    command = (sys.executable, "-c", PROGRAM, str(socket_path))
    vigil = asyncio.create_task(
        watchdog.keep_supervised(socket_path, command, clock=SystemClock(), on_start=lambda: starts.append(1))
    )
    try:

        async def served() -> bool:
            return await watchdog.accepts(socket_path)

        await eventually(served, lambda: f"starts: {starts}")
        await asyncio.sleep(1.0)  # five more looks
        assert len(pids(socket_path)) == len(starts) == 1
        told = written(socket_path).split()
        assert told[1:] == ["True", f"{socket_path.parent}:supervisor"]  # a session of its own, the right mark
        os.kill(pids(socket_path)[0], signal.SIGKILL)

        async def again() -> bool:
            return len(pids(socket_path)) == 2 and await watchdog.accepts(socket_path)

        await eventually(again, lambda: f"starts: {starts}")
    finally:
        vigil.cancel()
        await asyncio.gather(vigil, return_exceptions=True)
    assert psutil.pid_exists(pids(socket_path)[1])  # our end is not its end


async def test_hung_supervisor_counts_as_there(socket_path: Path) -> None:
    assert not await watchdog.accepts(socket_path)
    with socket.socket(socket.AF_UNIX) as silent:  # the kernel accepts for it, as for a process that is stopped
        silent.bind(str(socket_path))
        silent.listen()
        assert await watchdog.accepts(socket_path)
    assert not await watchdog.accepts(socket_path)


def test_program_that_cannot_run_is_told_and_survived(caplog: pytest.LogCaptureFixture) -> None:
    assert watchdog.spawn(("/nowhere/supervisord",)) is None
    assert "supervisor cannot be started" in caplog.text
