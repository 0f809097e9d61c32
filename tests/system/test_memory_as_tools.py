"""The official MCP client through the gateway, as an editor is set up: an address and a token."""

import ssl

import pytest

from support.running_grid import RunningGrid
from support.tool_client import tools_of


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_an_agent_remembers_through_the_gateway(grid: RunningGrid, mode: str) -> None:
    trust = ssl.create_default_context(cafile=str(grid.authority))
    namespace = f"tools-{mode}"
    async with tools_of(grid.address, grid.token("writer"), mode=mode, verify=trust) as tools:
        kept = await tools.call("remember", content="The vault opens at nine", namespace=namespace)
    async with tools_of(grid.address, grid.token("reader"), mode=mode, verify=trust) as tools:
        found = await tools.call("search_memories", query="when does the vault open?", namespace=namespace)
        assert [one["memory"]["id"] for one in found["results"]] == [kept["id"]]
        assert (await tools.refused("forget_memory", id=kept["id"], namespace=namespace))["status"] == 403


def test_the_edge_lets_nobody_in_without_a_token_and_nothing_but_post(grid: RunningGrid) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    with grid.client() as client:
        assert client.post("/mcp", json=body).status_code == 401
    with grid.client(grid.token("reader")) as client:
        assert client.get("/mcp").status_code == 405
        assert client.post("/mcpx", json=body).status_code == 404
