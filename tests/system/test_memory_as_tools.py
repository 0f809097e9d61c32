"""The official MCP client through the gateway, as an editor is set up: an address, and a token or a sign-in."""

import ssl
import subprocess
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from support.browser import Browser
from support.running_grid import RAGRID, RunningGrid
from support.tool_client import tools_of

HOME = "http://127.0.0.1:1/back"
PASSWORD = "correct horse battery staple"


class Kept:
    """What an editor keeps: how it is known to the grid, and its tokens."""

    def __init__(self, client: OAuthClientInformationFull) -> None:
        self.client = client
        self.tokens: OAuthToken | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


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


@pytest.fixture
def zoe(grid: RunningGrid) -> Iterator[str]:
    """A person who may write; the grid has one editor."""
    grid.ok("client", "create", "editor", "--public", "--redirect-uri", HOME)
    subprocess.run(
        (str(RAGRID), "user", "add", "zoe", "--role", "writer"),
        env=grid.environment,
        input=f"{PASSWORD}\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    yield "zoe"
    grid.ok("user", "disable", "zoe")
    grid.ok("client", "delete", "editor", "--yes")


async def test_an_editor_that_knows_the_address_alone_lets_a_person_sign_in(grid: RunningGrid, zoe: str) -> None:
    answers: list[str] = []

    async def signed_in(address: str) -> None:
        with grid.client() as http:
            browser = Browser(http)
            browser.open(address)
            answer = browser.send({"Origin": grid.address}, name=zoe, password=PASSWORD, decision="allow")
            answers.append(answer.headers["location"])

    async def called_back() -> AuthorizationCodeResult:
        told = parse_qs(urlsplit(answers[-1]).query)
        return AuthorizationCodeResult(code=told["code"][0], state=told["state"][0], iss=told["iss"][0])

    home = [AnyUrl(HOME)]
    kept = Kept(
        OAuthClientInformationFull(
            client_id="editor", redirect_uris=home, token_endpoint_auth_method="none", issuer=grid.address
        )
    )
    provider = OAuthClientProvider(
        f"{grid.address}/mcp",
        OAuthClientMetadata(redirect_uris=home, token_endpoint_auth_method="none"),
        kept,
        signed_in,
        called_back,
    )
    trust = ssl.create_default_context(cafile=str(grid.authority))
    async with tools_of(grid.address, verify=trust, auth=provider) as tools:
        made = await tools.call("remember", content="Zoe signs in by herself", namespace="editor")
    assert made["created_by"] == zoe
    assert kept.tokens is not None
    assert kept.tokens.scope == "memory:read memory:write"
    assert len(answers) == 1
