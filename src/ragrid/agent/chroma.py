"""ChromaDB's canary: a collection of our own with one vector, asked for on every look."""

import httpx

from ragrid.agent.checks import ProbeError, decoded, wanted_200

#: Tenant, database and collection of the canary. No token of a user ever names this tenant.
CANARY = "ragrid_canary"
_VECTOR = [0.6, 0.8]
_DATABASES = f"/api/v2/tenants/{CANARY}/databases"
_COLLECTIONS = f"{_DATABASES}/{CANARY}/collections"


class ChromaProbe:
    """Heartbeat, then a real query that must find the vector that was put there.

    The canary is made on the first look, and again when the server no longer knows it (a restored or emptied store).
    Making it is idempotent: several agents may share one server.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._collection: str | None = None

    async def __call__(self) -> None:
        """Look once."""
        wanted_200(await self._client.get("/api/v2/heartbeat"))
        if self._collection is None:
            self._collection = await self._make()
        answer = await self._query(self._collection)
        if answer.status_code == httpx.codes.NOT_FOUND:
            self._collection = await self._make()
            answer = await self._query(self._collection)
        found = decoded(wanted_200(answer)).get("ids")
        if found != [[CANARY]]:
            self._collection = None  # the vector is gone though the collection is there: make it again next time
            raise ProbeError(f"canary query: got ids {found!r}, wanted {[[CANARY]]!r}")

    async def _query(self, collection: str) -> httpx.Response:
        body = {"query_embeddings": [_VECTOR], "n_results": 1, "include": ["distances"]}
        return await self._client.post(f"{_COLLECTIONS}/{collection}/query", json=body)

    async def _make(self) -> str:
        await self._create("/api/v2/tenants")
        await self._create(_DATABASES)
        body = {"name": CANARY, "get_or_create": True}
        collection = decoded(wanted_200(await self._client.post(_COLLECTIONS, json=body))).get("id")
        if not isinstance(collection, str):
            raise ProbeError(f"canary collection: got id {collection!r}, wanted a UUID")
        vectors = {"ids": [CANARY], "embeddings": [_VECTOR]}
        wanted_200(await self._client.post(f"{_COLLECTIONS}/{collection}/upsert", json=vectors))
        return collection

    async def _create(self, path: str) -> None:
        answer = await self._client.post(path, json={"name": CANARY})
        if answer.status_code != httpx.codes.CONFLICT:  # somebody made it before us: just what is wanted
            wanted_200(answer)
