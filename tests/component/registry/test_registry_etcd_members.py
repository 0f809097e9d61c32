"""Three etcd members: the leader dies, then another, so that nobody can decide; then they come back."""

import asyncio
import contextlib
import dataclasses
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from ragrid.errors import LeaseLostError, UnreachableError
from ragrid.registry.open import open_registry
from ragrid.registry.protocol import Instance, Lease, Registry, Snapshot
from ragrid.spec.settings import RegistryAddress
from ragrid.system.clock import SystemClock
from support.registry_servers import Server, etcd_members, etcd_server

PATIENCE_S = 60.0
INSTANCES = tuple(Instance("memory", f"memory-{number}", "127.0.0.1", 3000 + number) for number in range(5))


@pytest.fixture
def members(tmp_path: Path) -> Iterator[list[Server]]:
    servers = etcd_members(tmp_path)
    try:
        for server in servers:
            server.launch()
        for server in servers:
            server.await_ready()
        yield servers
    finally:
        for server in servers:
            server.stop()


def opened(servers: list[Server]) -> Registry:
    address = RegistryAddress(kind="etcd", url=",".join(one.url for one in servers), namespace="tron")
    return open_registry(address, clock=SystemClock())


def leader_of(servers: list[Server]) -> Server:
    """The member that leads, as the members say themselves."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for server in servers:
            said = httpx.post(f"{server.url}/v3/maintenance/status", json={}, trust_env=False).json()
            if said.get("leader", "0") == said["header"]["member_id"]:
                return server
        time.sleep(0.1)
    pytest.fail("no leader")


class Keeper:
    """Keeps registrations as the agent does: renew often, register again when the lease was lost."""

    def __init__(self, registry: Registry, instances: tuple[Instance, ...]) -> None:
        self.registry = registry
        self.instances = instances
        self.unreachable = 0
        self.leases: dict[str, Lease] = {}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for one in self.instances:
                group.create_task(self._keep(one))

    async def _keep(self, one: Instance) -> None:
        while True:
            try:
                if one.instance_id in self.leases:
                    await self.registry.renew(self.leases[one.instance_id])
                else:
                    self.leases[one.instance_id] = await self.registry.register(one, ttl_s=5)
            except LeaseLostError:
                del self.leases[one.instance_id]
            except UnreachableError:
                self.unreachable += 1
            await asyncio.sleep(0.3)


class Observer:
    """Follows a watch as the controller does: call it again with the last index when it ends."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.last = Snapshot(0, ())
        self.broke_off = 0

    async def run(self) -> None:
        while True:
            try:
                async for snapshot in self.registry.watch(self.last.index):
                    self.last = snapshot
            except UnreachableError:
                self.broke_off += 1
                await asyncio.sleep(0.2)


async def registered(registry: Registry, one: Instance) -> Lease:
    """Register `one` as soon as the registry takes it."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(UnreachableError):
                return await registry.register(one, ttl_s=30)


@contextlib.asynccontextmanager
async def running(*workers: Keeper | Observer) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(one.run()) for one in workers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def eventually(what: Callable[[], bool], tell: Callable[[], object]) -> float:
    """Wait until `what` holds; return after how many seconds."""
    began_s = time.monotonic()
    while not what():
        assert time.monotonic() < began_s + PATIENCE_S, tell()
        await asyncio.sleep(0.02)
    return time.monotonic() - began_s


async def test_registrations_converge_after_the_leader_and_then_the_majority_is_lost(
    members: list[Server], record_property: Callable[[str, object], None]
) -> None:
    keeping, watching, asking = opened(members), opened(members), opened(members)
    keeper, observer = Keeper(keeping, INSTANCES), Observer(watching)

    def whole() -> bool:
        return observer.last.instances == INSTANCES

    async with running(keeper, observer):
        await eventually(whole, lambda: observer.last)
        # One dies: two of three decide on.
        first = await asyncio.to_thread(leader_of, members)
        first.kill()
        began_s = time.monotonic()
        extra = dataclasses.replace(INSTANCES[0], instance_id="memory-9")
        lease = await registered(asking, extra)
        record_property("leader_lost_until_write_s", round(time.monotonic() - began_s, 3))
        await eventually(lambda: observer.last.instances == (*INSTANCES, extra), lambda: observer.last)
        record_property("leader_lost_until_watched_s", round(time.monotonic() - began_s, 3))
        await asking.deregister(lease)
        await eventually(whole, lambda: observer.last)
        # Another: nobody can decide. Every call says so, in bounded time.
        rest = [server for server in members if server is not first]
        second = await asyncio.to_thread(leader_of, rest)
        second.kill()
        async with asyncio.timeout(PATIENCE_S):
            for call in (asking.list(), asking.register(extra, ttl_s=5)):
                with pytest.raises(UnreachableError):
                    await call
        broken, refused = observer.broke_off, keeper.unreachable
        await eventually(lambda: keeper.unreachable > refused, lambda: keeper.unreachable)
        await eventually(lambda: observer.broke_off > broken, lambda: observer.broke_off)
        assert whole()  # what was seen last stays
        # One of them comes back: the set is the same again, and lives by its leases.
        second.launch()
        await asyncio.to_thread(second.await_ready)
        ready_s = time.monotonic()
        lease = await registered(asking, extra)
        await eventually(lambda: observer.last.instances == (*INSTANCES, extra), lambda: observer.last)
        record_property("majority_back_until_watched_s", round(time.monotonic() - ready_s, 3))
        await asking.deregister(lease)
        await eventually(whole, lambda: observer.last)
    for registry in (keeping, watching, asking):
        await registry.close()


async def test_registry_restored_from_a_backup_goes_on_from_there(tmp_path: Path) -> None:
    """What was registered after the backup is gone, and its holder learns of it; the older lease is still one."""
    server = etcd_server(tmp_path)
    try:
        server.start()
        registry = opened([server])
        older = await registry.register(INSTANCES[0], ttl_s=60)
        backup = tmp_path / "backup.db"
        etcdctl(server, "snapshot", "save", str(backup))
        younger = await registry.register(INSTANCES[1], ttl_s=60)
        for port in range(20):
            younger = await registry.register(dataclasses.replace(INSTANCES[1], port=5000 + port), ttl_s=60)
        last = await registry.list()
        server.kill()
        assert server.data is not None
        shutil.rmtree(server.data)
        etcdctl(server, *restore_arguments(server, backup))
        server.start()
        async with asyncio.timeout(PATIENCE_S):
            watch = registry.watch(last.index)
            assert (await anext(watch)).instances == (INSTANCES[0],)
            await watch.aclose()  # type: ignore[attr-defined]  # all of ours are generators
        await registry.renew(older)
        with pytest.raises(LeaseLostError):
            await registry.renew(younger)
        await registry.register(INSTANCES[1], ttl_s=60)
        assert (await registry.list()).instances == INSTANCES[:2]
        await registry.close()
    finally:
        server.stop()


def restore_arguments(server: Server, backup: Path) -> tuple[str, ...]:
    """`etcdctl snapshot restore` makes a cluster of one; it must be the one of the server's command line."""
    cluster = server.command[server.command.index("--initial-cluster") + 1]
    peer = cluster.partition("=")[2]
    return (
        *("snapshot", "restore", str(backup), "--data-dir", str(server.data)),
        *("--initial-cluster", cluster, "--initial-advertise-peer-urls", peer),
    )


def etcdctl(server: Server, *arguments: str) -> None:
    program = shutil.which("etcdctl")
    assert program is not None, "etcdctl is not installed: sudo apt-get install --no-install-recommends etcd-client"
    subprocess.run(
        (program, "--endpoints", server.url, *arguments),
        env={"ETCDCTL_API": "3"},
        capture_output=True,
        check=True,
        timeout=30,
    )
