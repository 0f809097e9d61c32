"""What only Consul has: an ACL token, and an agent that one can look into."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ragrid.errors import UnreachableError
from ragrid.registry.open import open_registry
from ragrid.registry.protocol import Instance
from ragrid.spec.settings import RegistryAddress
from ragrid.system.clock import SystemClock
from support.registry_servers import Server, consul_server

TOKEN = "5b0c2d0e-7f1b-4d6a-9a56-2f1f8a0a7c11"
ONE = Instance("memory", "memory-sark", "127.0.0.1", 3000, version="0.1.0")
ACL = f'acl {{ enabled = true, default_policy = "deny", tokens {{ master = "{TOKEN}", agent = "{TOKEN}" }} }}'


@pytest.fixture
def consul(tmp_path: Path) -> Iterator[Server]:
    server = consul_server(tmp_path, hcl=ACL, token=TOKEN)
    try:
        server.start()
        yield server
    finally:
        server.stop()


async def test_token_opens_and_its_lack_is_told_apart(consul: Server, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    named = RegistryAddress(kind="consul", url=consul.url, namespace="tron", token_file=tmp_path / "token")
    registry = open_registry(named, clock=SystemClock())
    lease = await registry.register(ONE, ttl_s=30)
    await registry.renew(lease)
    assert (await registry.list()).instances == (ONE,)
    async with httpx.AsyncClient(base_url=consul.url, trust_env=False, headers={"X-Consul-Token": TOKEN}) as client:
        shown = (await client.get("/v1/agent/services")).json()["ragrid~tron~memory~memory-sark"]
    assert (shown["Service"], shown["Tags"], shown["Port"]) == ("ragrid-tron", ["memory"], 3000)
    await registry.deregister(lease)
    assert (await registry.list()).instances == ()
    await registry.close()

    nameless = open_registry(RegistryAddress(kind="consul", url=consul.url, namespace="tron"), clock=SystemClock())
    with pytest.raises(UnreachableError, match="is the ACL token right"):
        await nameless.register(ONE, ttl_s=30)
    await nameless.close()
