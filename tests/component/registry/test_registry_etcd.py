"""What only etcd has: client certificates, several servers, a compacted history."""

import asyncio
import base64
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ragrid.errors import UnreachableError
from ragrid.registry.open import open_registry
from ragrid.registry.protocol import Instance, Snapshot
from ragrid.spec.settings import RegistryAddress
from ragrid.system.clock import SystemClock
from ragrid.system.files import write_atomic
from support.registry_servers import Server, etcd_server, free_ports, make_tls

ONE = Instance("memory", "memory-sark", "127.0.0.1", 3000)
TWO = Instance("memory", "memory-clu", "127.0.0.1", 3001)


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Server]:
    server = etcd_server(tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def address(url: str, **files: Path) -> RegistryAddress:
    return RegistryAddress(kind="etcd", url=url, namespace="tron", **files)


async def first_of(address: RegistryAddress, after: int) -> Snapshot:
    registry = open_registry(address, clock=SystemClock())
    async with asyncio.timeout(20):
        watch = registry.watch(after)
        try:
            return await anext(watch)
        finally:
            await watch.aclose()  # type: ignore[attr-defined]  # all of ours are generators
            await registry.close()


async def test_client_certificate_opens_and_its_lack_is_unreachable(tmp_path: Path) -> None:
    tls = make_tls(tmp_path)
    server = etcd_server(tmp_path, tls)
    try:
        server.start()
        named = address(server.url, ca_file=tls.authority, certificate_file=tls.certificate, key_file=tls.key)
        registry = open_registry(named, clock=SystemClock())
        lease = await registry.register(ONE, ttl_s=5)
        await registry.renew(lease)
        assert (await registry.list()).instances == (ONE,)
        assert (await first_of(named, 1)).instances == (ONE,)
        await registry.close()
        nameless = open_registry(address(server.url, ca_file=tls.authority), clock=SystemClock())
        with pytest.raises(UnreachableError):
            await nameless.list()
        await nameless.close()
        distrustful = open_registry(address(server.url), clock=SystemClock())
        with pytest.raises(UnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
            await distrustful.list()
        await distrustful.close()
    finally:
        server.stop()


@pytest.mark.parametrize("other", ["refuses", "is silent"])
async def test_other_server_is_used_when_one_does_not_answer(etcd: Server, other: str) -> None:
    with contextlib.ExitStack() as stack:
        port = free_ports(1)[0]
        if other == "is silent":
            stack.enter_context(socket.create_server(("127.0.0.1", port)))
        both = address(f"http://127.0.0.1:{port},{etcd.url}")
        registry = open_registry(both, clock=SystemClock())
        await registry.register(ONE, ttl_s=30)
        assert (await registry.list()).instances == (ONE,)
        assert (await first_of(both, 1)).instances == (ONE,)
        await registry.close()


async def test_write_whose_fate_is_unknown_is_not_made_twice(etcd: Server) -> None:
    """A server that took the request and said nothing may have written it: nobody else is asked."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        both = address(f"http://127.0.0.1:{silent.getsockname()[1]},{etcd.url}")
        registry = open_registry(both, clock=SystemClock())
        with pytest.raises(UnreachableError):
            await registry.compare_and_set("state", b"x", revision=0)
        assert await registry.get("state") is None
        await registry.close()


async def test_watch_from_before_a_compaction_yields_the_present(etcd: Server) -> None:
    registry = open_registry(address(etcd.url), clock=SystemClock())
    before = (await registry.list()).index
    await registry.register(ONE, ttl_s=30)
    await registry.register(TWO, ttl_s=30)
    present = await registry.list()
    async with httpx.AsyncClient(base_url=etcd.url, trust_env=False) as client:
        compacted = await client.post("/v3/kv/compaction", json={"revision": str(present.index)})
        assert compacted.status_code == 200
    assert (await first_of(address(etcd.url), before)).instances == (TWO, ONE)
    await registry.close()


async def test_lease_says_what_was_granted_not_what_was_asked_for(etcd: Server) -> None:
    """etcd grants no less than its election takes; whoever renewed by what was asked for would be right by luck."""
    registry = open_registry(address(etcd.url), clock=SystemClock())
    lease = await registry.register(ONE, ttl_s=1)
    assert lease.ttl_s == 2
    await registry.close()


async def test_foreign_keys_wake_nobody(etcd: Server) -> None:
    registry = open_registry(address(etcd.url), clock=SystemClock())
    index = (await registry.list()).index
    waiting = asyncio.create_task(first_of(address(etcd.url), index))
    async with httpx.AsyncClient(base_url=etcd.url, trust_env=False) as client:
        for key in ("/ragrid/tron/servicesx", "/ragrid/tron/service", "/other", "/ragrid/tron2/services/a/b"):
            body = {"key": base64.b64encode(key.encode()).decode(), "value": ""}
            assert (await client.post("/v3/kv/put", json=body)).status_code == 200
    await registry.compare_and_set("state", b"x", revision=0)
    assert not waiting.done()
    await registry.register(ONE, ttl_s=30)
    assert (await waiting).instances == (ONE,)
    await registry.close()


async def test_a_renewed_client_certificate_is_shown_without_a_restart(tmp_path: Path) -> None:
    """The first one is of an authority that etcd does not know, as one that is over would be: then it is renewed."""
    (tmp_path / "other").mkdir()
    tls, stranger = make_tls(tmp_path), make_tls(tmp_path / "other")
    server = etcd_server(tmp_path, tls)
    certificate, key = tmp_path / "client.pem", tmp_path / "client.key"
    certificate.write_bytes(stranger.certificate.read_bytes())
    key.write_bytes(stranger.key.read_bytes())
    named = address(server.url, ca_file=tls.authority, certificate_file=certificate, key_file=key)
    registry = open_registry(named, clock=SystemClock())
    try:
        server.start()
        with pytest.raises(UnreachableError):
            await registry.list()
        write_atomic(key, tls.key.read_bytes())
        with pytest.raises(UnreachableError):  # half of it is there
            await registry.list()
        write_atomic(certificate, tls.certificate.read_bytes())
        lease = await registry.register(ONE, ttl_s=30)
        await registry.renew(lease)
        assert (await registry.list()).instances == (ONE,)
    finally:
        await registry.close()
        server.stop()
