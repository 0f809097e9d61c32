"""The doctor on this very machine."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragrid.system.clock import ManualClock
from ragrid.verify.doctor import Requirements, WantedPort, examine
from ragrid.verify.software import Program


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A loopback port that this process listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


def test_a_machine_that_the_tests_run_on_is_fit(free_port: int, taken_port: int) -> None:
    wanted = Requirements(
        state_directory=Path("/tmp/ragrid-not-yet"),
        ports=(WantedPort("a.free", "127.0.0.1", free_port), WantedPort("a.own", "127.0.0.1", taken_port)),
        own_pids=frozenset({os.getpid()}),
    )
    findings = examine(wanted, ManualClock())
    assert [one for one in findings if one.status == "fail"] == []
    assert len({one.name for one in findings}) == len(findings) > 15
    assert not wanted.state_directory.exists()


def test_what_is_wrong_is_found(tmp_path: Path, taken_port: int) -> None:
    file = tmp_path / "file"
    file.write_text("in the way\n")
    silent = tmp_path / "ragrid-silent-program"
    silent.write_text("#!/bin/sh\nexit 3\n")
    silent.chmod(0o755)
    wanted = Requirements(
        state_directory=file / "below",
        ports=(WantedPort("a.taken", "127.0.0.1", taken_port), WantedPort("a.strange", "192.0.2.1", 80)),
        programs=(
            Program("ragrid-no-such-program", "no-package", (1, 0), (2, 0)),
            Program(str(silent), "p", (1, 0), (2, 0)),
        ),
    )
    bad = {one.name: one for one in examine(wanted, ManualClock()) if one.status != "ok" and one.name != "clock"}
    assert {name.split(" (")[0] for name in bad} >= {
        "ragrid-no-such-program",
        str(silent),
        "state directory",
        f"port {taken_port}",
        "port 80",
    }
    assert bad["ragrid-no-such-program"].fix.endswith("install --no-install-recommends no-package")
    assert f"(pid {os.getpid()})" in bad[f"port {taken_port} (a.taken)"].seen
    assert "not an address of this machine" in bad["port 80 (a.strange)"].seen
