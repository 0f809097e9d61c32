"""The memory as tools: the official client against the real service, with the same walls and refusals as the API."""

from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import pytest
from starlette.routing import Route

from ragrid.services.memory.inmemory.store import InMemoryStore
from ragrid.services.memory.service import build_memory_application
from support.memory_process import MemoryProcess
from support.registry_servers import free_ports
from support.token_mint import TokenMint
from support.tool_client import tools_of


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemoryProcess]:
    """One service for all of them: it starts for a second, and each test is a tenant of its own."""
    one = MemoryProcess(tmp_path_factory.mktemp("memory"), free_ports(1)[0])
    one.start()
    yield one
    one.kill()


@pytest.fixture
def token(service: MemoryProcess, request: pytest.FixtureRequest) -> str:
    return service.mint.token(tenant=f"t{abs(hash(request.node.name))}")


READ = ["search_memories", "get_memory", "list_memories", "memory_history"]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_memory_from_its_first_version_to_its_end(service: MemoryProcess, token: str, mode: str) -> None:
    async with tools_of(service.url, token, mode=mode) as tools:
        tea = await tools.call(
            "remember", content="Ada drinks green tea", user_id="ada", tags=["drink"], data={"a": None}
        )
        assert (tea["version"], tea["data"], "metadata" in tea) == (1, {"a": None}, False)
        found = await tools.call("search_memories", query="what does Ada drink?", k=3)
        assert [one["memory"]["id"] for one in found["results"]] == [tea["id"]]
        patched = await tools.call("update_memory", id=tea["id"], changes={"importance": 0.9}, if_version=1)
        assert await tools.call("get_memory", id=tea["id"]) == patched
        conflict = await tools.refused("update_memory", id=tea["id"], changes={"pinned": True}, if_version=1)
        assert (conflict["code"], conflict["current_version"]) == ("version-conflict", 2)
        assert [one["id"] for one in (await tools.call("list_memories", tag=["drink"], limit=5))["memories"]] == [
            tea["id"]
        ]
        assert await tools.call("forget_memory", id=tea["id"]) == {"status": 204}
        assert (await tools.refused("get_memory", id=tea["id"]))["code"] == "memory-not-found"
        history = await tools.call("memory_history", id=tea["id"])
        assert [one["op"] for one in history["events"]] == ["delete", "update", "create"]
        assert (await tools.call("restore_memory", id=tea["id"], version=1))["content"] == "Ada drinks green tea"


async def test_namespaces_and_conditions(service: MemoryProcess, token: str) -> None:
    async with tools_of(service.url, token) as tools:
        await tools.call("put_memory", id="tea", namespace="demo", content="one", if_absent=True)
        refused = await tools.refused("put_memory", id="tea", namespace="demo", content="two", if_absent=True)
        assert refused["code"] == "version-conflict"
        assert (await tools.refused("get_memory", id="tea"))["code"] == "memory-not-found"
        assert (await tools.call("get_memory", id="tea", namespace="demo"))["content"] == "one"
        assert (await tools.refused("get_memory", id="a/b"))["code"] == "invalid-id"
        assert (await tools.refused("get_memory", id="tea", namespace="ü"))["code"] == "invalid-namespace"


async def test_a_conversation_is_kept_and_packed(service: MemoryProcess, token: str) -> None:
    async with tools_of(service.url, token) as tools:
        await tools.call("append_messages", id="chat-7", messages=[{"role": "user", "content": "when is tea?"}])
        assert (await tools.call("list_messages", id="chat-7"))["messages"][0]["index"] == 1
        await tools.call("put_session_state", id="chat-7", data={"asked": ["tea"]}, if_absent=True)
        state = await tools.call("get_session_state", id="chat-7")
        assert (state["data"], state["version"]) == ({"asked": ["tea"]}, 1)
        await tools.call("remember", content="Ada drinks green tea at four")
        assert [one["id"] for one in (await tools.call("list_sessions"))["sessions"]] == ["chat-7"]
        pack = await tools.call("pack_context", budget_tokens=500, query="tea", session_id="chat-7")
        assert [one["kind"] for one in pack["items"]] == ["state", "memory", "message"]


async def test_several_memories_at_once_and_what_became_of_them(service: MemoryProcess, token: str) -> None:
    async with tools_of(service.url, token) as tools:
        operations = [{"op": "put", "id": f"m{number}", "memory": {"content": "x", "tags": ["t"]}} for number in (1, 2)]
        done = await tools.call("change_memories", operations=operations, atomic=True)
        assert [one["status"] for one in done["results"]] == [201, 201]
        counted = await tools.call("forget_matching", filter={"tags": ["t"]}, dry_run=True)
        gone = await tools.call("forget_matching", filter={"tags": ["t"]}, token=counted["token"])
        assert (counted["count"], gone["forgotten"]) == (2, 2)
        changes = await tools.call("list_changes", since=0)
        assert [one["op"] for one in changes["changes"]] == ["create", "create", "delete", "delete"]
        assert (await tools.call("list_changes", since=changes["next_since"], wait_seconds=1))["changes"] == []
        [space] = (await tools.call("list_namespaces"))["namespaces"]
        assert (space["name"], space["memories"]) == ("default", 0)
        assert await tools.call("memory_stats") == {"namespaces": 1, "memories": 0, "bytes": 0}


async def test_every_slip_is_named(service: MemoryProcess, token: str) -> None:
    async with tools_of(service.url, token) as tools:
        slips = await tools.refused("remember", contents="x", importanze=1)
        assert [one["pointer"] for one in slips["errors"]] == ["/contents", "/importanze"]
        assert "did you mean 'content'?" in slips["errors"][0]["detail"]
        missing = await tools.refused("get_memory")
        assert missing["errors"] == [{"pointer": "/id", "detail": "wanted, and missing"}]
        wrong = await tools.refused("remember", content="x", importance=7, tags="drink")
        assert [one["pointer"] for one in wrong["errors"]] == ["/importance", "/tags"]
        assert "no tool 'nonsense'; known are: remember" in await tools.refused("nonsense")
        assert (await tools.refused("update_memory", id="a", changes="x"))["errors"][0]["pointer"] == "/changes"
        assert (await tools.refused("update_memory", id="a", changes={}, if_version="1"))["errors"][0]["pointer"] == (
            "/if_version"
        )


async def test_a_token_shows_and_allows_what_it_may(service: MemoryProcess) -> None:
    token = service.mint.token(scope="memory:read")
    async with tools_of(service.url, token) as tools:
        assert [one for one in await tools.names() if one in READ] == READ
        assert "remember" not in await tools.names()
        assert (await tools.refused("remember", content="x"))["code"] == "insufficient-scope"


async def test_another_tenant_sees_nothing(service: MemoryProcess) -> None:
    async with tools_of(service.url, service.mint.token(tenant="acme")) as tools:
        await tools.call("put_memory", id="secret", content="the vault opens at nine")
    async with tools_of(service.url, service.mint.token(tenant="other")) as tools:
        assert (await tools.refused("get_memory", id="secret"))["code"] == "memory-not-found"
        assert (await tools.call("search_memories", query="vault"))["results"] == []


def test_who_has_no_token_or_the_wrong_one_is_refused_before_anything_else(service: MemoryProcess) -> None:
    body: Any = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    assert httpx.post(f"{service.url}/mcp", json=body).status_code == 401
    other = {"authorization": f"Bearer {service.mint.token(scope='rag:read')}"}
    assert httpx.post(f"{service.url}/mcp", json=body, headers=other).status_code == 403
    reader = {"authorization": f"Bearer {service.mint.token(scope='memory:read')}"}
    answer = httpx.get(f"{service.url}/mcp", headers=reader)
    assert (answer.status_code, answer.headers["allow"], answer.json()["code"]) == (405, "POST", "method-not-allowed")


class Alternating(httpx2.AsyncBaseTransport):
    """Gives each request to another of several instances."""

    def __init__(self, *applications: Any) -> None:
        self._transports = [httpx2.ASGITransport(one) for one in applications]
        self.requests = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests += 1
        return await self._transports[self.requests % len(self._transports)].handle_async_request(request)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_any_instance_answers_any_request(mode: str) -> None:
    mint, store = TokenMint(), InMemoryStore()
    applications = [build_memory_application(store, mint.verifier(), mint.clock, prefix="/memory") for _ in range(2)]
    alternating = Alternating(*applications)
    try:
        async with tools_of("http://memory", mint.token(), mode=mode, transport=alternating) as tools:
            for number in range(4):
                await tools.call("put_memory", id=f"m{number}", content="x")
            assert len((await tools.call("list_memories"))["memories"]) == 4
        assert alternating.requests > 5
    finally:
        for one in applications:
            [route] = [route for route in one.routes if isinstance(route, Route) and route.path == "/mcp"]
            endpoint: Any = route.endpoint
            await endpoint.close()
