"""Thousands of requests by one tenant for what another owns, over every operation that the API declares."""

import os
import random
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragrid.services.memory.api.operation import Operation
from ragrid.services.memory.api.routes import MemoryApi
from ragrid.services.memory.inmemory.store import InMemoryStore
from ragrid.services.memory.jobs.model import begun
from ragrid.services.memory.service import build_memory_application
from ragrid.services.memory.sqlite.store import SqliteStore
from support.memory_calls import Caller
from support.token_mint import TokenMint

#: How many foreign requests are sent; RAGRID_FOREIGN_REQUESTS=10000 is the long proof.
REQUESTS = int(os.environ.get("RAGRID_FOREIGN_REQUESTS", "1000"))
#: What everything of the owner's holds, and no request of the other's says.
SECRET = "kilimanjaro"
WORD = "zanzibar"
KEYS = ("k0", "k1", "k2", "deleted")
NAMESPACES = ("default", "private")

#: All but the stream of events, which has no end to wait for; the walls around it are tested with the others.
OPERATIONS = tuple(
    one
    for one in MemoryApi(InMemoryStore(), TokenMint().clock).operations
    if all(success.media_type != "text/event-stream" for success in one.successes)
)


async def _own(alice: Caller, store: SqliteStore) -> None:
    """Fill every kind of thing that the API keeps."""
    for namespace in NAMESPACES:
        headers = {"memory-namespace": namespace}
        for key in KEYS:
            body = {"content": f"{WORD} {SECRET}", "user_id": "u", "session_id": "s", "tags": ["t"], "pinned": True}
            await alice.call("PUT", f"/memories/{key}", json=body, headers=headers)
        await alice.call("DELETE", "/memories/deleted", headers=headers)
        turns = {"messages": [{"role": "user", "content": f"{WORD} {SECRET}"}]}
        await alice.call("POST", "/sessions/s/messages", json=turns, headers=headers | {"idempotency-key": "key"})
        await alice.call("PUT", "/sessions/s/state", json={"data": {"said": SECRET}}, headers=headers)
    await store.save_job(begun("job", SECRET, tenant="acme", actor="alice", at_us=1_800_000_000_000_000))


def _path(operation: Operation, chance: random.Random) -> str:
    values = {"{id}": chance.choice((*KEYS, "job")), "{sid}": "s", "{name}": chance.choice(NAMESPACES)}
    path = operation.path
    for name, value in values.items():
        path = path.replace(name, value)
    return path


def _query(operation: Operation, chance: random.Random) -> dict[str, str]:
    offered = {
        "version": "1",
        "as_of": "2999-01-01T00:00:00Z",
        "purge": "true",
        "since": "0",
        "namespaces": "all",
        "user_id": "u",
        "session_id": "s",
        "tag": "t",
        "limit": "100",
        "on_duplicate": chance.choice(("keep", "return", "supersede")),
    }
    known = {one.name for one in operation.parameters if one.place == "query"}
    return {name: value for name, value in offered.items() if name in known and chance.random() < 0.4}


def _body(operation: Operation, chance: random.Random) -> Any:
    if operation.body is None:
        return None
    key = chance.choice(KEYS)
    bodies: dict[str, list[Any]] = {
        "search": [{"query": WORD, "k": 100, "mode": "lexical"}, {"query": WORD, "filter": {"user_id": "u"}}],
        "forget": [{"filter": {"user_id": "u"}, "dry_run": True}, {"filter": {"tags": ["t"]}, "dry_run": True}],
        "batch": [
            {"operations": [{"op": "patch", "id": key, "patch": {"importance": 1}}], "documents": True},
            {"operations": [{"op": "restore", "id": key, "version": 1}, {"op": "delete", "id": key}]},
        ],
        "context": [{"budget_tokens": 9000, "query": WORD, "session_id": "s"}],
        "messages": [{"messages": [{"role": "user", "content": "mine"}], "after": chance.choice((0, 1))}],
        "state": [{"data": {}}],
        "restore": [{}, {"version": 1}],
        "namespaces": [{"quota_rows": 100_000, "require_if_match": False}],
    }
    for part in reversed(operation.path.split("/")):
        if part in bodies:
            return chance.choice(bodies[part])
    return chance.choice([{"content": "mine"}, {"content": "mine", "supersedes": [key]}, {"importance": 1}])


def _headers(operation: Operation, chance: random.Random) -> dict[str, str]:
    headers = {"memory-namespace": chance.choice(NAMESPACES)}
    if operation.body is not None:
        headers["content-type"] = operation.body.media_type
    if chance.random() < 0.3:
        headers[chance.choice(("if-match", "if-none-match"))] = chance.choice(("*", '"1"'))
    if chance.random() < 0.3:
        headers["idempotency-key"] = "key"
    return headers


@pytest.mark.timeout(600)
async def test_no_foreign_request_shows_or_touches_what_another_tenant_owns(tmp_path: Path) -> None:
    mint = TokenMint()
    store = SqliteStore.open(tmp_path)
    application = build_memory_application(store, mint.verifier(), mint.clock, prefix="/memory")
    chance = random.Random(4)
    answered: dict[str, set[int]] = {}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://memory") as client:
        alice = Caller(client, mint.token(tenant="acme", sub="alice", exp=mint.clock.now_s() + 3600))
        scope = "memory:read memory:write memory:admin"
        eve = Caller(client, mint.token(tenant="evil", sub="alice", scope=scope, roles=["admin"]))
        alice.base = eve.base = "/memory/v1"
        await _own(alice, store)
        before = (await alice.call("GET", "/export?namespaces=all")).content
        assert before.count(SECRET.encode()) > len(KEYS)
        for number in range(REQUESTS):
            operation = OPERATIONS[number % len(OPERATIONS)]
            answer = await eve.call(
                operation.method,
                _path(operation, chance),
                params=_query(operation, chance),
                json=_body(operation, chance),
                headers=_headers(operation, chance),
            )
            assert SECRET not in answer.text, f"{operation.id}: {answer.text[:500]}"
            assert answer.status_code < 500, f"{operation.id}: {answer.text[:500]}"
            answered.setdefault(operation.id, set()).add(answer.status_code)
        assert (await alice.call("GET", "/export?namespaces=all")).content == before
    await store.close()
    assert answered.keys() == {one.id for one in OPERATIONS}
    # Each was heard: an operation whose every request was malformed would have shown nothing.
    heard = {200, 201, 202, 204, 404, 409}
    assert {name: statuses for name, statuses in answered.items() if not statuses & heard} == {}
