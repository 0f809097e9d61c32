"""A test run that is killed leaves no server behind: whatever it started ends, with all its processes."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

#: A passing test needs a fraction of it.
PATIENCE_S = 60.0
#: Stands for a run of tests: starts a server, says who leads it, and goes on until its input ends.
RUN = """
import sys
from pathlib import Path
from support import after_kill
from support.registry_servers import etcd_server
after_kill.GRACE_S = 0.5
{start}
print(pid, flush=True)
sys.stdin.read()
"""
ETCD = "server = etcd_server(Path(sys.argv[1])); server.start(); pid = server.pid"
#: As vLLM's engine can be: its parent is gone, and it does not heed a polite word.
STUBBORN = """
command = ("/bin/sh", "-c", "trap '' TERM; sleep 600 & sleep 600 &")
server = after_kill.start(command, stdin=-3, stdout=-3); server.wait(); pid = server.pid
"""


class Run:
    """A run of tests with a temporary folder of its own."""

    def __init__(self, start: str, folder: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": str(folder)}
        command = (sys.executable, "-c", RUN.format(start=start), str(folder))
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.server = int(self.process.stdout.readline())

    def servers(self) -> list[int]:
        """The living processes of the server's session."""
        found = []
        for one in psutil.process_iter(["status"]):
            try:
                is_member = os.getsid(one.pid) == self.server and one.info["status"] != psutil.STATUS_ZOMBIE
            except ProcessLookupError:
                continue
            found += [one.pid] if is_member else []
        return found


@pytest.fixture
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Run]:
    one = Run(request.param, tmp_path)
    yield one
    one.process.kill()
    one.process.communicate()
    for pid in one.servers():  # what a passing test has none of
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(("run", "count"), [(ETCD, 1), (STUBBORN, 2)], ids=["etcd", "stubborn"], indirect=["run"])
def test_a_killed_run_leaves_nothing(run: Run, count: int, tmp_path: Path) -> None:
    assert len(run.servers()) == count
    run.process.kill()
    deadline = time.monotonic() + PATIENCE_S
    while run.servers() or any(tmp_path.glob("ragrid-watch-*")):
        assert time.monotonic() < deadline, run.servers()
        time.sleep(0.05)


@pytest.mark.parametrize("run", [ETCD], ids=["etcd"], indirect=True)
def test_an_ordinary_end_waits_until_nothing_is_left(run: Run, tmp_path: Path) -> None:
    assert len(run.servers()) == 1
    run.process.communicate("", timeout=PATIENCE_S)
    assert run.process.returncode == 0
    assert run.servers() == []
    assert list(tmp_path.glob("ragrid-watch-*")) == []
