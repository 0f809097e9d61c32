"""Calls to the memory API in tests, as one caller with one token."""

from typing import Any

import httpx

MEMORIES = "/memory/v1/memories"


class Caller:
    """One caller of the API; `headers` go with every request, paths are below `base`."""

    base = MEMORIES

    def __init__(self, client: httpx.AsyncClient, token: str, **headers: str) -> None:
        self._client = client
        self._headers = {"authorization": f"Bearer {token}", **headers}

    async def call(
        self,
        method: str,
        path: str = "",
        *,
        json: Any = None,
        content: bytes | None = None,
        params: Any = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        """Send one request to `base` + `path`; a JSON body is declared as the method wants it."""
        sent = dict(self._headers)
        if json is not None or content is not None:
            sent["content-type"] = "application/merge-patch+json" if method == "PATCH" else "application/json"
        sent.update(headers or {})
        return await self._client.request(
            method, self.base + path, json=json, content=content, params=params, headers=sent
        )

    async def create(self, **members: Any) -> dict[str, Any]:
        """Make one memory and return it."""
        answer = await self.call("POST", json={"content": "a fact", **members})
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def search(self, query: str, **members: Any) -> list[str]:
        """Return the ids that a search finds, best first."""
        answer = await self.call("POST", "/search", json={"query": query, **members})
        assert answer.status_code == 200, answer.text
        return [one["memory"]["id"] for one in answer.json()["results"]]

    async def ids(self, **params: Any) -> list[str]:
        """Return the ids on the first page of a list."""
        answer = await self.call("GET", params=params)
        assert answer.status_code == 200, answer.text
        return [one["id"] for one in answer.json()["memories"]]
