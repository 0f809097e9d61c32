"""The official MCP client, as an agent or an editor would use it."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import msgspec
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, TextContent


class Tools:
    """The tools of one server, for one caller."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def names(self) -> list[str]:
        """Return the names of all tools."""
        return [one.name for one in (await self.client.list_tools()).tools]

    async def call(self, tool: str, **arguments: Any) -> Any:
        """Call a tool that must succeed; return what it says."""
        result = await self.client.call_tool(tool, arguments)
        assert not result.is_error, text_of(result)
        assert result.structured_content is not None
        if result.structured_content != {"status": 204}:
            assert msgspec.json.decode(text_of(result)) == result.structured_content
        return result.structured_content

    async def refused(self, tool: str, **arguments: Any) -> Any:
        """Call a tool that must refuse; return the problem, or the text when it is none."""
        result = await self.client.call_tool(tool, arguments)
        assert result.is_error, text_of(result)
        return result.structured_content or text_of(result)


def text_of(result: CallToolResult) -> str:
    """Return what a model would read."""
    [content] = result.content
    assert isinstance(content, TextContent)
    return content.text


@asynccontextmanager
async def tools_of(
    address: str,
    token: str | None = None,
    *,
    mode: str = "auto",
    verify: ssl.SSLContext | None = None,
    transport: httpx2.AsyncBaseTransport | None = None,
    auth: httpx2.Auth | None = None,
) -> AsyncIterator[Tools]:
    """Connect to the server at `address`/mcp, with a token, or with what gets one."""
    headers = {"authorization": f"Bearer {token}"} if token is not None else {}
    options: dict[str, Any] = {"verify": verify} if verify is not None else {}
    async with (
        httpx2.AsyncClient(
            headers=headers, transport=transport, trust_env=False, timeout=30, auth=auth, **options
        ) as http,
        Client(streamable_http_client(f"{address}/mcp", http_client=http), mode=mode) as client,
    ):
        yield Tools(client)
