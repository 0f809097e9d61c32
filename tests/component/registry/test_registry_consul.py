"""What only Consul has: ACL tokens, and other tools that look into it."""

import asyncio
import dataclasses
import secrets
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragrid.errors import UnreachableError
from ragrid.registry.open import open_registry
from ragrid.registry.protocol import Instance, Registry
from ragrid.spec.settings import RegistryAddress
from ragrid.system.clock import SystemClock
from support.registry_servers import Server, consul_server, free_ports, make_tls

TOKEN = "5b0c2d0e-7f1b-4d6a-9a56-2f1f8a0a7c11"
ONE = Instance("memory", "memory-sark", "127.0.0.1", 3000, version="0.1.0", weight=3)
TWO = Instance("memory", "memory-clu", "127.0.0.1", 3001, version="0.1.0")
ACL = f'acl {{ enabled = true, default_policy = "deny", tokens {{ master = "{TOKEN}", agent = "{TOKEN}" }} }}'
PATIENCE_S = 30.0


@pytest.fixture
def dns_port() -> int:
    return free_ports(1)[0]


@pytest.fixture
def consul(tmp_path: Path, dns_port: int, request: pytest.FixtureRequest) -> Iterator[Server]:
    hcl = getattr(request, "param", "")
    server = consul_server(tmp_path, hcl=hcl, token=TOKEN if hcl else "", dns_port=dns_port)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def opened(server: Server, namespace: str = "tron", **files: Path) -> Registry:
    address = RegistryAddress(kind="consul", url=server.url, namespace=namespace, **files)
    return open_registry(address, clock=SystemClock())


async def eventually(what: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await what():  # noqa: ASYNC110 - the event is in another process
            await asyncio.sleep(0.1)


async def asked(server: Server, path: str, **params: str) -> Any:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        return (await client.get(path, params=params)).raise_for_status().json()


@pytest.mark.parametrize("consul", [ACL], indirect=True)
async def test_token_opens_and_its_lack_is_told_apart(consul: Server, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    registry = opened(consul, token_file=tmp_path / "token")
    lease = await registry.register(ONE, ttl_s=30)
    await registry.renew(lease)
    assert (await registry.list()).instances == (ONE,)
    await registry.close()
    nameless = opened(consul)
    with pytest.raises(UnreachableError, match="is the ACL token right"):
        await nameless.register(ONE, ttl_s=30)
    assert (await nameless.list()).instances == ()  # not refused: this is why an empty answer is not believed
    await nameless.close()


@pytest.mark.parametrize("consul", [ACL], indirect=True)
async def test_token_that_may_only_read_lists_and_cannot_register(consul: Server, tmp_path: Path) -> None:
    rules = 'node_prefix "" { policy = "read" } service_prefix "" { policy = "read" }'
    async with httpx.AsyncClient(base_url=consul.url, trust_env=False, headers={"X-Consul-Token": TOKEN}) as client:
        made = await client.put("/v1/acl/policy", json={"Name": "reader", "Rules": rules})
        assert made.status_code == 200, made.text
        granted = await client.put("/v1/acl/token", json={"Policies": [{"Name": "reader"}]})
        assert granted.status_code == 200, granted.text
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "reader").write_text(granted.json()["SecretID"])
    writer, reader = opened(consul, token_file=tmp_path / "token"), opened(consul, token_file=tmp_path / "reader")
    await writer.register(ONE, ttl_s=30)
    assert (await reader.list()).instances == (ONE,)
    with pytest.raises(UnreachableError, match="is the ACL token right"):
        await reader.register(TWO, ttl_s=30)
    with pytest.raises(UnreachableError, match="is the ACL token right"):
        await reader.compare_and_set("state", b"x", revision=0)
    await reader.close()
    await writer.close()


async def test_client_certificate_opens_and_its_lack_is_unreachable(tmp_path: Path) -> None:
    tls = make_tls(tmp_path)
    server = consul_server(tmp_path, tls=tls)
    try:
        server.start()
        named = opened(server, ca_file=tls.authority, certificate_file=tls.certificate, key_file=tls.key)
        lease = await named.register(ONE, ttl_s=30)
        await named.renew(lease)
        assert (await named.list()).instances == (ONE,)
        await named.close()
        for other in (opened(server, ca_file=tls.authority), opened(server)):
            with pytest.raises(UnreachableError):
                await other.list()
            await other.close()
    finally:
        server.stop()


async def test_services_stand_in_the_catalog_under_their_own_names_and_grids_apart(consul: Server) -> None:
    tron, clu = opened(consul, "tron"), opened(consul, "clu")
    await tron.register(ONE, ttl_s=30)
    await clu.register(dataclasses.replace(ONE, port=4000), ttl_s=30)
    await tron.register(Instance("vllm", "vllm-sark", "127.0.0.1", 8000), ttl_s=30)
    catalog = await asked(consul, "/v1/catalog/services")
    assert catalog.keys() == {"consul", "memory", "vllm"}
    assert sorted(catalog["memory"]) == ["ragrid", "ragrid-clu", "ragrid-tron"]
    (found,) = await asked(consul, "/v1/health/service/memory", passing="true", tag="ragrid-tron")
    assert (found["Service"]["Address"], found["Service"]["Port"]) == ("127.0.0.1", 3000)
    assert [check["Status"] for check in found["Checks"]] == ["passing", "passing"]
    assert [one.port for one in (await tron.list()).instances] == [3000, 8000]
    assert [one.port for one in (await clu.list()).instances] == [4000]
    await tron.close()
    await clu.close()


async def test_maintenance_mode_of_consul_takes_an_instance_out(consul: Server) -> None:
    registry = opened(consul)
    lease = await registry.register(ONE, ttl_s=30)
    path = "/v1/agent/service/maintenance/ragrid~tron~memory~memory-sark"

    async def lists(wanted: tuple[Instance, ...]) -> bool:
        await registry.renew(lease)
        return (await registry.list()).instances == wanted

    async with httpx.AsyncClient(base_url=consul.url, trust_env=False) as client:
        (await client.put(path, params={"enable": "true"})).raise_for_status()
        await eventually(lambda: lists(()))
        (await client.put(path, params={"enable": "false"})).raise_for_status()
        await eventually(lambda: lists((ONE,)))
    await registry.close()


async def test_consul_dns_answers_with_what_is_healthy(consul: Server, dns_port: int) -> None:
    registry = opened(consul)
    await registry.register(ONE, ttl_s=30)
    await registry.register(TWO, ttl_s=2)

    async def answers(*ports: int) -> bool:
        return ports_in_dns("ragrid-tron.memory.service.consul", dns_port) == sorted(ports)

    await eventually(lambda: answers(3000, 3001))
    await eventually(lambda: answers(3000))  # the second lease ran out
    assert ports_in_dns("ragrid-clu.memory.service.consul", dns_port) == []
    await registry.close()


def ports_in_dns(name: str, port: int) -> list[int]:
    """Ask a DNS server for SRV records and return their ports (RFC 1035, RFC 2782)."""
    question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    number = secrets.randbelow(1 << 16)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5.0)
        client.connect(("127.0.0.1", port))
        client.send(struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + question + struct.pack(">2H", 33, 1))
        answer = client.recv(4096)
    seen, _, _, count, _, _ = struct.unpack_from(">6H", answer)
    assert seen == number
    at, ports = 12 + len(question) + 4, []
    for _ in range(count):
        while answer[at] and answer[at] < 0xC0:  # a name: labels, ended by a null or a pointer
            at += answer[at] + 1
        at += 2 if answer[at] >= 0xC0 else 1
        (size,) = struct.unpack_from(">H", answer, at + 8)
        ports.append(struct.unpack_from(">3H", answer, at + 10)[2])
        at += 10 + size
    return sorted(ports)
