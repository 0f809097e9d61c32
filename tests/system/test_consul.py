"""A grid whose registry is Consul: as whole as one with etcd, closed to whoever has no token, open to other tools."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest

from ragrid.drivers.local.supervisor import SupervisorControl
from support.registry_servers import consul_program, free_ports
from support.running_grid import RunningGrid, eventually, grid_document, running_grid

SERVICES = ("chromadb", "memory", "rag", "tokens")


@pytest.fixture(scope="module")
def own_grid() -> Iterator[RunningGrid]:
    document = grid_document(name="consul")
    names = ("port", "peer_port", "gossip_port")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    document["registry"] = {"kind": "consul", "executable": str(consul_program()), **ports}
    with running_grid(document) as running:
        eventually(lambda: is_whole(running), "healthy, every service in the catalog")
        yield running


def secret(grid: RunningGrid) -> str:
    return (grid.state / "secrets" / "registry-token").read_text()


def consul(grid: RunningGrid, path: str, *, token: str = "", method: str = "GET", body: Any = None) -> httpx.Response:
    address = f"http://127.0.0.1:{grid.document['registry']['port']}"
    headers = {"X-Consul-Token": token} if token else {}
    with httpx.Client(base_url=address, headers=headers, trust_env=False, timeout=10.0) as client:
        return client.request(method, path, json=body)


def registered(grid: RunningGrid) -> set[str]:
    """The services of the grid of which Consul says that an instance passes its checks."""
    try:
        answers = {
            name: consul(grid, f"/v1/health/service/{name}?passing=true&tag=ragrid-consul", token=secret(grid))
            for name in SERVICES
        }
    except httpx.TransportError:
        return set()
    return {name for name, answer in answers.items() if answer.status_code == httpx.codes.OK and answer.json()}


def is_whole(grid: RunningGrid) -> bool:
    return bool(grid.status()["healthy"]) and registered(grid) == set(SERVICES)


def remembered(grid: RunningGrid) -> int:
    """Ask the memory service for something, by way of the gateway; return the status."""
    with grid.client(grid.token("reader")) as client:
        return client.get("/memory/v1/memories").status_code


def answers_and_is_whole(grid: RunningGrid) -> bool:
    assert remembered(grid) == httpx.codes.OK
    return is_whole(grid)


def test_grid_is_healthy_and_consul_scraped(own_grid: RunningGrid) -> None:
    assert own_grid.part("consul")["is_healthy"]
    assert remembered(own_grid) == httpx.codes.OK
    prometheus = f"http://127.0.0.1:{own_grid.document['monitoring']['port']}/api/v1/query"

    def scraped(query: str) -> bool:
        answer = httpx.get(prometheus, params={"query": query}, trust_env=False).json()
        return [one["value"][1] for one in answer["data"]["result"]] == ["1"]

    eventually(lambda: scraped('up{job="consul"}'), "Prometheus reads Consul's metrics")
    eventually(
        lambda: scraped("count(consul_raft_leader_lastContact_count) or count(consul_runtime_alloc_bytes)"),
        "they are Consul's",
    )


def test_services_stand_in_the_catalog_as_other_tools_want_them(own_grid: RunningGrid) -> None:
    catalog = consul(own_grid, "/v1/catalog/services", token=secret(own_grid)).json()
    assert catalog.keys() == {"consul", *SERVICES}
    (found,) = consul(own_grid, "/v1/health/service/memory?passing=true", token=secret(own_grid)).json()
    port = own_grid.document["services"]["memory"]["port"]
    assert (found["Service"]["Address"], found["Service"]["Port"]) == ("127.0.0.1", port)
    assert found["Service"]["Meta"]["ragrid_instance"] == "memory-localhost"


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/v1/catalog/services", 200, "{}"),
        ("/v1/catalog/nodes", 200, "[]"),
        ("/v1/health/state/any", 200, "[]"),
        ("/v1/health/service/memory", 200, "[]"),
        ("/v1/agent/services", 200, "{}"),
        ("/v1/kv/?keys", 200, "[]"),
        ("/v1/kv/ragrid/consul/values/x", 403, None),
        ("/v1/agent/self", 403, None),
        ("/v1/agent/metrics", 403, None),
        ("/v1/acl/tokens", 403, None),
        ("/v1/operator/raft/configuration", 403, None),
        ("/ui/", 404, None),
    ],
)
def test_without_a_token_nothing_is_read(own_grid: RunningGrid, path: str, status: int, text: str | None) -> None:
    for token in ("", "5b0c2d0e-7f1b-4d6a-9a56-2f1f8a0a7c11"):
        answer = consul(own_grid, path, token=token)
        refused = token and status == httpx.codes.OK  # a token that Consul does not know is refused everywhere
        assert answer.status_code == (httpx.codes.FORBIDDEN if refused else status), answer.text
        assert text is None or refused or answer.text.strip() == text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/agent/service/register", {"Name": "memory", "Port": 1, "Tags": ["ragrid-consul"]}),
        ("/v1/agent/service/deregister/ragrid~consul~memory~memory-localhost", None),
        ("/v1/agent/leave", None),
        ("/v1/kv/x", "x"),
        ("/v1/acl/bootstrap", None),
    ],
)
def test_without_a_token_nothing_is_written(own_grid: RunningGrid, path: str, body: Any) -> None:
    answer = consul(own_grid, path, method="PUT", body=body)
    assert answer.status_code == httpx.codes.FORBIDDEN, answer.text


def test_token_lies_in_private_files_and_nowhere_else(own_grid: RunningGrid) -> None:
    token = secret(own_grid)
    holders = {path for path in own_grid.state.rglob("*") if path.is_file() and token.encode() in path.read_bytes()}
    names = {str(path.relative_to(own_grid.state)) for path in holders}
    assert {"secrets/registry-token", "secrets/consul-acl.json"} <= names
    assert {name.split("/")[0] for name in names} <= {"secrets", "data"}  # Consul's own store is private, too
    assert {path.stat().st_mode & 0o077 for path in holders if path.parent.name == "secrets"} == {0}
    assert (own_grid.state / "data" / "consul").stat().st_mode & 0o077 == 0
    for process in psutil.process_iter(["cmdline"]):
        assert token not in " ".join(process.info["cmdline"] or [])


def test_consul_listens_on_the_private_address_alone(own_grid: RunningGrid) -> None:
    (pid,) = own_grid.pids("consul")
    listening = {
        (one.laddr.ip, one.laddr.port)
        for one in psutil.Process(pid).net_connections()
        if one.status == psutil.CONN_LISTEN or (one.type.name == "SOCK_DGRAM" and not one.raddr)
    }
    registry = own_grid.document["registry"]
    assert listening == {("127.0.0.1", registry[name]) for name in ("port", "peer_port", "gossip_port")}


def test_killed_consul_loses_no_request_and_comes_back_whole(own_grid: RunningGrid) -> None:
    (pid,) = own_grid.pids("consul")
    os.kill(pid, signal.SIGKILL)
    assert {remembered(own_grid) for _ in range(20)} == {httpx.codes.OK}
    eventually(lambda: own_grid.pids("consul") not in (set(), {pid}), "Consul has a new process")
    eventually(lambda: is_whole(own_grid), "healthy after")


def test_hung_consul_loses_no_request_although_every_lease_ends(own_grid: RunningGrid) -> None:
    """It hangs for longer than a lease; when it goes on, it first says that nothing is healthy any more."""
    (pid,) = own_grid.pids("consul")
    os.kill(pid, signal.SIGSTOP)
    try:
        deadline = time.monotonic() + 13.0
        while time.monotonic() < deadline:
            assert remembered(own_grid) == httpx.codes.OK
            time.sleep(0.2)
    finally:
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: answers_and_is_whole(own_grid), "healthy after")
    assert own_grid.pids("consul") == {pid}


def test_hung_service_is_restarted_by_the_agent(own_grid: RunningGrid) -> None:
    """The supervisor sees a process that runs, and would leave it like that for ever."""
    before = own_grid.pids("memory")
    for pid in before:
        os.kill(pid, signal.SIGSTOP)
    eventually(lambda: not before & own_grid.pids("memory"), "memory has new processes", 120.0)
    eventually(lambda: is_whole(own_grid) and remembered(own_grid) == httpx.codes.OK, "healthy after")


def test_consul_that_comes_back_with_empty_data_loses_no_request_and_is_filled_again(own_grid: RunningGrid) -> None:
    """Its index starts anew, and for a moment it answers that there is nothing: neither is believed."""
    supervisor = SupervisorControl(own_grid.state / "run" / "supervisor.sock")
    supervisor.unload("consul")
    shutil.rmtree(own_grid.state / "data" / "consul")
    (own_grid.state / "data" / "consul").mkdir(mode=0o700)
    supervisor.load("consul")
    eventually(lambda: answers_and_is_whole(own_grid), "every service in the catalog again")
