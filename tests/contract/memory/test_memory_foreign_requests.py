"""No request finds anything behind a wall, whatever operation, id, filter or header it comes with.

The walls are those between tenants, and those that a token puts up inside one: other namespaces, other users.
RAGRID_FOREIGN_REQUESTS=10000 is the long proof, for every store.
"""

import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from ragrid.services.memory.api.operation import Operation
from ragrid.services.memory.api.routes import MemoryApi
from ragrid.services.memory.protocol.store import MemoryStore
from ragrid.services.memory.service import build_memory_application
from support.token_mint import TokenMint

REQUESTS = int(os.environ.get("RAGRID_FOREIGN_REQUESTS", "200"))
BASE = "/memory/v1"
#: Words that stand in everything of the one tenant, and in no request of the other.
MARK, AUTHOR = "zanzibar", "alice-of-acme"
IDS = ("fact", "plan", "gone", "talk")
NAMESPACES = ("default", "work")
#: What makes something of one's own has one's own id; it stays behind the wall, too.
MAKING = {"replaceMemory", "appendMessages", "replaceState", "putNamespace"}
#: Who asks: somebody of another tenant, or of the same with a token for other namespaces, or for one user's memories.
WALLS: dict[str, dict[str, Any]] = {
    "tenant": {"tenant": "evil"},
    "namespaces": {"tenant": "acme", "memory_ns": ["own-*", "w*k-"]},
    "user": {"tenant": "acme", "memory_user": "eve"},
}
READ_ONLY_LISTS = {"listMemories", "searchMemories", "readStats", "listNamespaces", "listSessions", "listJobs"}


class World:
    """Two callers of one application: one has something of everything, the other one asks for it."""

    def __init__(self, store: MemoryStore, client: httpx.AsyncClient, mint: TokenMint, wall: str) -> None:
        scope = "memory:read memory:write memory:admin"
        self.api = MemoryApi(store, mint.clock)
        self._client = client
        self._alice = f"Bearer {mint.token(tenant='acme', sub=AUTHOR, scope=scope)}"
        self.wall = wall
        self._eve = f"Bearer {mint.token(**WALLS[wall], sub='eve', scope=scope)}"

    async def mine(self, method: str, path: str, namespace: str = "default", **sent: Any) -> httpx.Response:
        """Send a request of the one who has something."""
        headers = {"authorization": self._alice, "memory-namespace": namespace, **sent.pop("headers", {})}
        answer = await self._client.request(method, BASE + path, headers=headers, **sent)
        assert answer.status_code < 300, answer.text
        return answer

    async def foreign(self, method: str, path: str, headers: dict[str, str], **sent: Any) -> httpx.Response:
        """Send a request of the one who asks."""
        return await self._client.request(method, BASE + path, headers={"authorization": self._eve, **headers}, **sent)

    async def fill(self) -> None:
        """Give the one tenant something of everything."""
        for namespace in NAMESPACES:
            for name in IDS[:3]:
                body = {"content": f"{MARK} {name}", "user_id": "u", "tags": ["t"], "data": {"where": MARK}}
                await self.mine("PUT", f"/memories/{name}", namespace, json=body)
                await self.mine("PUT", f"/memories/{name}", namespace, json={**body, "content": f"{MARK} again"})
            await self.mine("DELETE", "/memories/gone", namespace)
            said = {"messages": [{"role": "user", "content": MARK}]}
            await self.mine("POST", "/sessions/talk/messages", namespace, json=said)
            await self.mine("PUT", "/sessions/talk/state", namespace, json={"data": {"where": MARK}})
        await self.mine("POST", "/memories", json={"content": MARK}, headers={"idempotency-key": "key"})
        await self.mine("PUT", "/namespaces/work", json={"quota_rows": 77})
        brought = {"content": MARK, "user_id": "u", "embedding": {"model": MARK, "values": [1, 0]}}
        await self.mine("PUT", "/memories/brought", json=brought)
        await self.mine("PUT", "/namespaces/work", json={"quota_rows": 77, "embedder": "given"})
        await self.mine("PUT", "/memories/brought", "work", json=brought)

    async def seen(self) -> list[bytes]:
        """Return all that the one tenant can see of what is theirs."""
        paths = [f"/memories/{name}/history" for name in IDS[:3]] + ["/memories?user_id=u", "/sessions/talk/messages"]
        found = [(await self.mine("GET", path, namespace)).content for namespace in NAMESPACES for path in paths]
        lines = (await self.mine("GET", "/export")).content.splitlines()
        exported = b"".join(line for line in lines if MARK.encode() in line)
        settings = (await self.mine("GET", "/namespaces/work")).json()
        return [
            *found,
            exported,
            repr(
                [settings[name] for name in ("quota_rows", "embedder", "brought_model", "version", "updated_by")]
            ).encode(),
        ]


@pytest.fixture
async def world(store: MemoryStore, wall: str) -> AsyncIterator[World]:
    mint = TokenMint()
    application = build_memory_application(store, mint.verifier(), mint.clock, prefix="/memory")
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://memory") as client:
        yield World(store, client, mint, wall)


def bodies(operation: Operation, some: random.Random) -> Any:
    """Return a body that means something to the operation, with ids that are not the caller's."""
    name = some.choice(IDS)
    changes = [
        {"op": "patch", "id": name, "patch": {"content": "taken"}},
        {"op": "delete", "id": name},
        {"op": "restore", "id": name, "version": 1},
        {"op": "put", "id": name, "memory": {"content": "taken"}, "if_match": some.choice([1, 2, "*"])},
        {"op": "create", "memory": {"content": "mine", "supersedes": [name]}},
    ]
    vector = {"model": "eves", "values": [1]}
    making: list[dict[str, Any]] = [{}, {"user_id": "u"}, {"supersedes": [name]}, {"embedding": vector}]
    return {
        "createMemory": {
            "content": "again",
            **some.choice(making),
        },
        "replaceMemory": {"content": "mine"},
        "patchMemory": {"content": "taken"},
        "searchMemories": {"query": some.choice(["again", "fact plan", "where"]), "include_superseded": True},
        "forgetMemories": {"filter": some.choice([{}, {"user_id": "u"}, {"tags": ["t"]}]), "dry_run": True},
        "restoreMemory": some.choice([{}, {"version": 1}, {"version": 2}]),
        "changeMemories": {"operations": some.sample(changes, 3), "atomic": some.random() < 0.5, "documents": True},
        "appendMessages": {"messages": [{"role": "user", "content": "mine"}]},
        "replaceState": {"data": {"mine": 1}},
        "packContext": {"query": "again", "session_id": "talk", "token_budget": 500},
        "putNamespace": {"quota_rows": 5},
    }.get(operation.id, {})


def queries(operation: Operation, some: random.Random) -> dict[str, str]:
    """Return a few of the parameters that the operation takes."""
    known = {
        "version": ["1", "2"], "as_of": ["2999-01-01T00:00:00Z"], "user_id": ["u"], "tag": ["t"], "limit": ["5", "200"],
        "type": ["semantic"], "purge": ["true"], "on_duplicate": ["return", "supersede"], "order": ["oldest"],
        "since": ["0", "3"], "atomic": ["true"], "namespaces": ["default", "work"], "include": ["embedding_status"],
    }  # fmt: skip
    names = [one.name for one in operation.parameters if one.place == "query" and one.name in known]
    return {name: some.choice(known[name]) for name in some.sample(names, min(len(names), some.randint(0, 2)))}


async def asked(world: World, operation: Operation, some: random.Random) -> tuple[httpx.Response, bool]:
    """Send one random request; tell whether its path names something of the other tenant."""
    is_making = operation.id in MAKING
    name = f"own-{some.randint(0, 9)}" if is_making else some.choice(NAMESPACES if "{name}" in operation.path else IDS)
    path = operation.path.replace("{id}", name).replace("{name}", name)
    headers = {"memory-namespace": some.choice(NAMESPACES)}
    if some.random() < 0.3:
        headers["if-match"] = some.choice(["*", '"1"', '"2"'])
    if operation.id in {"createMemory", "appendMessages"} and some.random() < 0.5:
        headers["idempotency-key"] = "key"
    sent: dict[str, Any] = {"params": queries(operation, some)}
    if operation.body is not None:
        headers["content-type"] = operation.body.media_type
        is_lines = operation.body.media_type.endswith("ndjson")
        sent |= {"content": b"{}\n"} if is_lines else {"json": bodies(operation, some)}
    answer = await world.foreign(operation.method, path, headers, **sent)
    return answer, "{id}" in operation.path and not is_making


@pytest.mark.parametrize("wall", WALLS)
async def test_no_request_finds_anything_behind_a_wall(world: World, wall: str) -> None:
    await world.fill()
    before = await world.seen()
    operations = [one for one in world.api.operations if one.id != "streamChanges"]  # it would go on for ever
    some = random.Random(20261123)
    statuses: Counter[tuple[str, int]] = Counter()
    for number in range(REQUESTS):
        operation = operations[number % len(operations)]
        answer, is_foreign = await asked(world, operation, some)
        told = f"{operation.id} {answer.request.url} {answer.request.content!r}: {answer.status_code} {answer.text}"
        assert MARK not in answer.text, told
        assert AUTHOR not in answer.text, told
        assert answer.status_code < 500, told
        assert "idempotency-replayed" not in answer.headers or operation.id in {"createMemory", "appendMessages"}, told
        if is_foreign:
            assert answer.status_code >= 400, told
        statuses[operation.id, answer.status_code] += 1
    assert await world.seen() == before
    _assert_that_requests_meant_something(statuses, wall)


def _assert_that_requests_meant_something(statuses: Counter[tuple[str, int]], wall: str) -> None:
    """A request that is refused for its form proves nothing: each of these was understood at least once."""
    understood = {name for name, status in statuses if status in {200, 201, 204, 404, 412}}
    refused = {name for name, status in statuses if status == 403}
    if wall == "namespaces":
        assert refused == {"listJobs", "readJob", "readStats", "reembed", "backup"}
        assert {"readMemory", "searchMemories", "listSessions", "readChanges", "putNamespace"} <= understood
        return
    wanted = {
        "readMemory",
        "patchMemory",
        "deleteMemory",
        "restoreMemory",
        "readHistory",
        "changeMemories",
        "createMemory",
    }
    if wall == "user":
        assert {"readChanges", "exportMemories", "importMemories", "listSessions", "readStats"} <= refused
        assert wanted | {"listMemories", "searchMemories", "replaceMemory"} <= understood
    else:
        assert wanted | READ_ONLY_LISTS | MAKING <= understood
    assert {"readMemory", "readHistory", "restoreMemory"} <= {name for name, status in statuses if status == 404}
