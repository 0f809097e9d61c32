"""A real agent process, a real etcd, and small real HTTP servers for it to look after."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from ragrid.registry.open import open_registry
from ragrid.registry.protocol import Registry
from ragrid.spec.settings import AgentSettings, Check, Listen, RegistryAddress, WatchedInstance
from ragrid.system.clock import SystemClock
from support.agent_rig import AgentProcess, HttpPart
from support.registry_servers import Server, etcd_server, free_ports


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Server]:
    server = etcd_server(tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def part(tmp_path: Path) -> Iterator[HttpPart]:
    one = HttpPart(tmp_path)
    try:
        one.start()
        yield one
    finally:
        one.stop()


@pytest.fixture
def settings(tmp_path: Path, etcd: Server, part: HttpPart) -> AgentSettings:
    check = Check(kind="http", path="/healthz", interval_s=0.2, timeout_s=0.5)
    watched = WatchedInstance(
        service="memory", instance_id="memory-sark", host="127.0.0.1", port=part.port, version="0.1.0", check=check
    )
    return AgentSettings(
        host_name="sark",
        registry=RegistryAddress(kind="etcd", url=etcd.url, namespace="tron"),
        listen=Listen(port=free_ports(1)[0]),
        lease_s=3.0,
        instances=(watched,),
        status_file=tmp_path / "run" / "agent-status.json",
    )


@pytest.fixture
def agent(tmp_path: Path, settings: AgentSettings) -> Iterator[AgentProcess]:
    one = AgentProcess(tmp_path, settings)
    try:
        one.start()
        yield one
    finally:
        one.stop()


@pytest_asyncio.fixture
async def registry(settings: AgentSettings) -> AsyncIterator[Registry]:
    one = open_registry(settings.registry, clock=SystemClock())
    yield one
    await one.close()
