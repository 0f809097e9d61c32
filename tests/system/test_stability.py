"""DESIGN's first rule: the data path needs no control part; and what dies comes back by itself."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import httpx
import pytest

from ragrid.drivers.local.supervisor import SupervisorControl
from support.running_grid import RunningGrid, eventually, grid_document, running_grid


@pytest.fixture(scope="module")
def own_grid() -> Iterator[RunningGrid]:
    with running_grid(grid_document(name="stability")) as running:
        yield running


def control(grid: RunningGrid) -> SupervisorControl:
    return SupervisorControl(grid.state / "run" / "supervisor.sock")


def healthy(grid: RunningGrid) -> bool:
    return bool(grid.status()["healthy"])


@pytest.mark.parametrize(
    "part",
    ["etcd", "tokens", "chromadb", "memory", "rag", "gateway", "controller", "agent", "prometheus", "node-exporter"],
)
def test_a_killed_part_is_back_by_itself_and_status_tells_the_truth(own_grid: RunningGrid, part: str) -> None:
    eventually(lambda: healthy(own_grid), f"healthy before {part} is killed")
    before = own_grid.pids(part)
    supervisor = control(own_grid)
    # Held down for a moment, so that there is a time in which it is away, whatever the machine is doing.
    for pid in before:
        os.kill(pid, signal.SIGSTOP)
    away = own_grid.part(part)
    assert not away["is_healthy"], away
    assert away["detail"]
    for pid in before:
        with contextlib.suppress(ProcessLookupError):  # what is left of a group is ended with the first of it
            os.kill(pid, signal.SIGKILL)
    eventually(lambda: own_grid.pids(part) != set() and not before & own_grid.pids(part), f"{part} has new processes")
    eventually(lambda: healthy(own_grid), f"healthy after {part} was killed")
    assert {state.state for state in supervisor.processes()} == {"RUNNING"}


def test_a_killed_supervisor_is_noticed_and_replaced_without_a_double_or_a_pause(own_grid: RunningGrid) -> None:
    eventually(lambda: healthy(own_grid), "healthy before")
    before = {part: own_grid.pids(part) for part in ("memory", "gateway", "chromadb")}
    (supervisor,) = own_grid.pids("supervisor")
    os.kill(supervisor, signal.SIGKILL)
    status = own_grid.status()
    assert not status["healthy"]
    assert not status["supervisor"]
    assert {part["state"] for part in status["parts"]} == {"ORPHANED"}
    eventually(lambda: own_grid.pids("supervisor") - {supervisor} != set(), "the agent started a supervisor")
    eventually(lambda: healthy(own_grid), "healthy after")
    assert len(own_grid.pids("supervisor")) == 1
    for part, pids in before.items():
        assert pids <= own_grid.pids(part), f"{part} was restarted"


def test_with_every_control_part_dead_requests_go_on_also_after_a_restart_of_nginx(own_grid: RunningGrid) -> None:
    eventually(lambda: healthy(own_grid), "healthy before")
    supervisor = control(own_grid)
    with own_grid.client(own_grid.token("writer")) as client:
        place = client.post("/memory/v1/memories", json={"content": "kept"}).headers["location"]
        for part in ("etcd", "tokens", "prometheus", "controller", "agent"):
            supervisor.unload(part)
        try:
            time.sleep(3.0)  # longer than any poll of the edge, so that what it believes now it would go on believing
            answers(client, place)
            nginx = own_grid.pids("gateway")
            for pid in nginx:
                os.kill(pid, signal.SIGKILL)
            eventually(lambda: not nginx & own_grid.pids("gateway") and bool(own_grid.pids("gateway")), "a new nginx")
            eventually(lambda: listens(client), "nginx answers")
            answers(client, place)
            eventually(lambda: ":admin permission are refused" in detail_of(own_grid, "gateway"), "the status says why")
        finally:
            own_grid.ok("up")
    eventually(lambda: healthy(own_grid), "healthy after")


def detail_of(grid: RunningGrid, name: str) -> str:
    """What the status says of a part besides its state."""
    [detail] = [part["detail"] for part in grid.status()["parts"] if part["name"] == name]
    return str(detail)


def test_a_hung_agent_whose_leases_end_costs_nobody_a_request(own_grid: RunningGrid) -> None:
    eventually(lambda: healthy(own_grid), "healthy before")
    with own_grid.client(own_grid.token("writer")) as client:
        place = client.post("/memory/v1/memories", json={"content": "kept"}).headers["location"]
        agent = own_grid.pids("agent")
        for pid in agent:
            os.kill(pid, signal.SIGSTOP)
        try:
            deadline = time.monotonic() + 30.0  # its leases end after 10 s, and doubts after 15 s more
            while time.monotonic() < deadline:
                answers(client, place)
                time.sleep(1.0)
        finally:
            for pid in agent:
                os.kill(pid, signal.SIGCONT)
    eventually(lambda: healthy(own_grid), "healthy after")


def answers(client: httpx.Client, place: str) -> None:
    """Every service still answers a valid token."""
    assert client.get(place).json()["content"] == "kept"
    assert client.get("/api/v2/tenants/default_tenant/databases/default_database/collections").status_code == 200
    assert client.post("/rag/v1/ask", json={"question": "what is kept?"}).status_code == 200
    assert client.get("/memory/v1/memories", headers={"Authorization": "Bearer junk"}).status_code == 401


def listens(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.HTTPError:
        return False
