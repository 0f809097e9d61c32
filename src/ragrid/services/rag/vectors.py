"""ChromaDB through the gateway, with the caller's own token: its tenant and its rights are the caller's."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from ragrid.errors import AuthError, RagridError, UnreachableError
from ragrid.inference.embedder import FloatArray

DATABASE = "default_database"
#: Our own bound of one upsert: ChromaDB 1.5.9 takes 5,461 records (its /pre-flight-checks).
BATCH = 1000


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a request is made. The token is never logged."""

    tenant: str
    token: str

    def __repr__(self) -> str:
        return f"Caller(tenant={self.tenant!r})"


class _Collection(msgspec.Struct):
    id: str


class _Answer(msgspec.Struct):
    ids: list[list[str]]
    distances: list[list[float]] | None = None


class VectorStore:
    """The collections of one ChromaDB. One object serves one event loop; `client` is closed with it."""

    def __init__(self, client: httpx.AsyncClient, gateway_url: str) -> None:
        self._client = client
        self._base = f"{gateway_url.rstrip('/')}/api/v2"
        self._known: dict[tuple[str, str], str] = {}

    async def upsert(
        self, caller: Caller, collection: str, rows: FloatArray, *, ids: Sequence[str], metadatas: Sequence[Any]
    ) -> None:
        """Add or replace records; makes the collection when it is not there."""
        for start in range(0, len(ids), BATCH):
            part = slice(start, start + BATCH)
            body = {
                "ids": list(ids[part]),
                "embeddings": [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in rows[part]],
                "metadatas": list(metadatas[part]),
            }
            if await self._records(caller, collection, "upsert", body) is None:
                await self._create(caller, collection)
                if await self._records(caller, collection, "upsert", body) is None:
                    raise UnreachableError(f"{collection}: vanished while it was written; try again")

    async def query(self, caller: Caller, collection: str, row: FloatArray, limit: int) -> list[tuple[str, float]]:
        """Return ids and cosine similarities, the closest first; nothing when there is no such collection."""
        body = {"query_embeddings": [row.tolist()], "n_results": limit, "include": ["distances"]}
        content = await self._records(caller, collection, "query", body)
        if content is None:
            return []
        try:
            answer = msgspec.json.decode(content, type=_Answer)
            return [
                (found, 1.0 - distance)
                for found, distance in zip(answer.ids[0], (answer.distances or [[]])[0], strict=True)
            ]
        except (msgspec.MsgspecError, ValueError, IndexError) as error:
            raise RagridError(f"{self._base}: {error} in the answer to a query; wanted chromadb 1.5") from error

    async def delete(self, caller: Caller, collection: str, where: Mapping[str, Any]) -> None:
        """Delete the records whose metadata match; no such collection is no error."""
        await self._records(caller, collection, "delete", {"where": where})

    async def drop(self, caller: Caller, collection: str) -> None:
        """Delete a whole collection; none of that name is no error."""
        self._known.pop((caller.tenant, collection), None)
        url = f"{self._collections(caller)}/{collection}"
        await self._send(caller, "DELETE", url, allowed=(404,))

    async def prepare_tenant(self, caller: Caller) -> None:
        """Make sure that ChromaDB knows the tenant and its database; needs `chromadb:admin` when it does not."""
        tenant = f"{self._base}/tenants/{quote(caller.tenant, safe='')}"
        if (await self._send(caller, "GET", tenant, allowed=(404,))).status_code == httpx.codes.NOT_FOUND:
            await self._send(caller, "POST", f"{self._base}/tenants", {"name": caller.tenant}, allowed=(409,))
        database = f"{tenant}/databases"
        if (await self._send(caller, "GET", f"{database}/{DATABASE}", allowed=(404,))).status_code != httpx.codes.OK:
            await self._send(caller, "POST", database, {"name": DATABASE}, allowed=(409,))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _collections(self, caller: Caller) -> str:
        return f"{self._base}/tenants/{quote(caller.tenant, safe='')}/databases/{DATABASE}/collections"

    async def _records(self, caller: Caller, collection: str, action: str, body: Any) -> bytes | None:
        """Return the answer of a record call, or None when the collection does not exist.

        A known id may be stale, because somebody deleted or rebuilt the collection: it is looked up once more then.
        """
        for _ in range(2):
            known = self._known.get((caller.tenant, collection)) or await self._look_up(caller, collection)
            if known is None:
                return None
            url = f"{self._collections(caller)}/{known}/{action}"
            response = await self._send(caller, "POST", url, body, allowed=(404,))
            if response.status_code != httpx.codes.NOT_FOUND:
                return response.content
            self._known.pop((caller.tenant, collection), None)
        return None

    async def _look_up(self, caller: Caller, collection: str) -> str | None:
        response = await self._send(caller, "GET", f"{self._collections(caller)}/{collection}", allowed=(404,))
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        return self._learn(caller, collection, response)

    async def _create(self, caller: Caller, collection: str) -> None:
        body = {"name": collection, "get_or_create": True, "configuration": {"hnsw": {"space": "cosine"}}}
        # ChromaDB 1.5.9 says 400, not 404, when it does not know the database.
        response = await self._send(caller, "POST", self._collections(caller), body, allowed=(400, 404))
        if response.is_client_error:
            await self.prepare_tenant(caller)
            response = await self._send(caller, "POST", self._collections(caller), body)
        self._learn(caller, collection, response)

    def _learn(self, caller: Caller, collection: str, response: httpx.Response) -> str:
        try:
            known = msgspec.json.decode(response.content, type=_Collection).id
        except msgspec.MsgspecError as error:
            raise RagridError(f"{response.url}: {error}; wanted a collection of chromadb 1.5") from error
        self._known[caller.tenant, collection] = known
        return known

    async def _send(
        self, caller: Caller, method: str, url: str, body: Any = None, *, allowed: Sequence[int] = ()
    ) -> httpx.Response:
        """Return the answer when it is a success or its status is `allowed`.

        Raises AuthError for 401 and 403, UnreachableError for 429, 5xx and no answer, RagridError for anything else.
        """
        headers = {"Authorization": f"Bearer {caller.token}", "Content-Type": "application/json"}
        content = None if body is None else msgspec.json.encode(body)
        try:
            try:
                response = await self._client.request(method, url, content=content, headers=headers)
            except httpx.RemoteProtocolError:
                # The gateway closed an idle connection just now; each of our calls may be made twice.
                response = await self._client.request(method, url, content=content, headers=headers)
        except httpx.HTTPError as error:
            raise UnreachableError(f"{url}: {type(error).__name__}: {error}; wanted ChromaDB's answer") from error
        if response.is_success or response.status_code in allowed:
            return response
        message = f"{method} {url}: got {response.status_code}: {response.text[:300]}"
        if response.status_code in {401, 403}:
            raise AuthError(f"{message}; ask for a token whose role allows this in ChromaDB")
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS or response.is_server_error:
            raise UnreachableError(f"{message}; see `ragrid status`")
        raise RagridError(message)
