"""The agent, a real supervisor and a real part that hangs, fails for ever, or was stopped by a person."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ragrid.drivers.local.driver import LocalDriver
from ragrid.drivers.local.layout import open_layout
from ragrid.drivers.local.part import Part, Port, Probe, Scrape
from ragrid.plan.steps import Action, Step
from ragrid.registry.protocol import Registry
from ragrid.spec.settings import AgentSettings, RestartRules
from ragrid.system import owned
from support.agent_rig import AgentProcess, eventually
from support.registry_servers import free_ports

MEMORY = ["memory-sark"]
RULES = RestartRules(part="part", after_s=1.0, start_s=1.0, attempts=2)
#: Answers what the file beside it says.
PROGRAM = """
import http.server, pathlib, sys
status = pathlib.Path(sys.argv[2])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(status.read_text())); self.end_headers()
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def driver() -> Iterator[LocalDriver]:
    root = Path(tempfile.mkdtemp(dir="/tmp", prefix="ragrid-"))
    port = free_ports(1)[0]
    (root / "status").write_text("200")
    (root / "program.py").write_text(PROGRAM)
    part = Part(
        name="part",
        version="1",
        command=(sys.executable, str(root / "program.py"), str(port), str(root / "status")),
        ports=(Port("none", "127.0.0.1", port),),
        probe=Probe(f"http://127.0.0.1:{port}/"),
        scrape=Scrape("127.0.0.1", port),
    )
    local = LocalDriver(open_layout(root / "state", "test"), [part], python=Path(sys.executable))
    try:
        local.start_supervisor()
        local.run(Step(Action.START, "part", part.revision))
        yield local
    finally:
        local.stop()
        shutil.rmtree(root)


@pytest.fixture
def rules() -> RestartRules | None:
    return RULES


@pytest.fixture
def agent(
    tmp_path: Path,
    settings: AgentSettings,
    driver: LocalDriver,
    rules: RestartRules | None,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[AgentProcess]:
    """The agent of the grid that the driver runs; its one instance is the driver's part."""
    watched = msgspec.structs.replace(settings.instances[0], port=driver.parts[0].ports[0].port, restart=rules)
    socket = driver.layout.supervisor_socket
    monkeypatch.setenv(owned.MARK, owned.mark_of(driver.layout.root, "agent"))
    one = AgentProcess(tmp_path, msgspec.structs.replace(settings, instances=(watched,), supervisor_socket=socket))
    try:
        one.start()
        yield one
    finally:
        one.stop()


def processes(driver: LocalDriver) -> set[int]:
    return {pid for pid, name in owned.parts_running(driver.layout.root).items() if name == "part"}


def state(driver: LocalDriver) -> str:
    (one,) = driver.control.processes()
    return one.state


def answer_with(driver: LocalDriver, status: int) -> None:
    (driver.layout.root.parent / "status").write_text(str(status))


async def shows(agent: AgentProcess, line: str) -> None:
    async def shown() -> bool:
        return line in await agent.page("/metrics")

    await eventually(shown, agent.tell)


async def test_hung_part_is_restarted_and_serves_again(
    agent: AgentProcess, driver: LocalDriver, registry: Registry
) -> None:
    await agent.sees(registry, MEMORY)
    before = processes(driver)
    for pid in before:
        os.kill(pid, signal.SIGSTOP)
    await agent.sees(registry, [])
    await agent.sees(registry, MEMORY)
    assert not before & processes(driver)

    async def runs() -> bool:
        return state(driver) == "RUNNING"

    await eventually(runs, lambda: state(driver))
    await shows(agent, 'ragrid_part_restarts_total{instance="memory-sark",part="memory"} 1.0')


async def test_part_that_fails_for_ever_is_given_up_and_looked_after_again_once_mended(
    agent: AgentProcess, driver: LocalDriver, registry: Registry
) -> None:
    await agent.sees(registry, MEMORY)
    answer_with(driver, 500)
    await shows(agent, 'ragrid_part_given_up{instance="memory-sark",part="memory"} 1.0')
    await shows(agent, 'ragrid_part_restarts_total{instance="memory-sark",part="memory"} 2.0')
    assert agent.tell().count("leaving it alone") == 1
    last = processes(driver)
    await asyncio.sleep(3 * RULES.after_s)
    assert processes(driver) == last
    answer_with(driver, 200)
    await agent.sees(registry, MEMORY)
    await shows(agent, 'ragrid_part_given_up{instance="memory-sark",part="memory"} 0.0')


async def test_part_that_a_person_stopped_stays_stopped(
    agent: AgentProcess, driver: LocalDriver, registry: Registry
) -> None:
    await agent.sees(registry, MEMORY)
    configuration = driver.layout.etc / "supervisord.conf"
    command = (sys.executable, "-m", "supervisor.supervisorctl", "-c", str(configuration), "stop", "part")
    subprocess.run(command, check=True, capture_output=True, timeout=30)  # noqa: ASYNC221 - nothing else runs here
    await agent.sees(registry, [])
    await asyncio.sleep(4 * RULES.after_s)
    assert state(driver) == "STOPPED"
    await shows(agent, 'ragrid_part_restarts_total{instance="memory-sark",part="memory"} 0.0')


@pytest.mark.parametrize("rules", [None])
async def test_part_that_settings_do_not_name_is_left_as_it_is(
    agent: AgentProcess, driver: LocalDriver, registry: Registry
) -> None:
    await agent.sees(registry, MEMORY)
    before = processes(driver)
    for pid in before:
        os.kill(pid, signal.SIGSTOP)
    await agent.sees(registry, [])
    await asyncio.sleep(4 * RULES.after_s)
    assert processes(driver) == before
    for pid in before:
        os.kill(pid, signal.SIGCONT)
    await agent.sees(registry, MEMORY)
