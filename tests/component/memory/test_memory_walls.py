"""No tenant reaches another's memories, whatever it asks for, on the store that ships."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragrid.services.memory.jobs.model import begun
from ragrid.services.memory.service import build_memory_application
from ragrid.services.memory.sqlite.store import SqliteStore
from support.memory_calls import Caller
from support.token_mint import TokenMint

MARK = "zanzibar"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    one = SqliteStore.open(tmp_path)
    yield one
    await one.close()


@pytest.fixture
async def callers(store: SqliteStore) -> AsyncIterator[tuple[Caller, Caller]]:
    mint = TokenMint()
    application = build_memory_application(store, mint.verifier(), mint.clock, prefix="/memory")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://memory") as client:
        yield (
            Caller(client, mint.token(tenant="acme", sub="alice")),
            Caller(client, mint.token(tenant="evil", sub="eve", scope="memory:read memory:write memory:admin")),
        )


FOREIGN: list[tuple[str, str, Any, dict[str, str]]] = [
    ("GET", "/{id}", None, {}),
    ("HEAD", "/{id}", None, {}),
    ("GET", "/{id}", None, {"if-none-match": "*"}),
    ("GET", "/{id}?version=1", None, {}),
    ("GET", "/{id}?as_of=2999-01-01T00:00:00Z", None, {}),
    ("GET", "/{id}/history", None, {}),
    ("POST", "/{id}/restore", {"version": 1}, {}),
    ("POST", "/{id}/restore", {}, {"if-match": "*"}),
    ("DELETE", "/{id}?purge=true", None, {}),
    ("PATCH", "/{id}", {"content": "taken"}, {}),
    ("PATCH", "/{id}", {"content": "taken"}, {"if-match": '"1"'}),
    ("DELETE", "/{id}", None, {}),
    ("DELETE", "/{id}", None, {"if-match": "*"}),
    ("PUT", "/{id}", {"content": "taken"}, {"if-match": '"1"'}),
    ("GET", "", None, {}),
    ("GET", "?user_id=u&tag=t", None, {}),
    ("POST", "/search", {"query": MARK}, {}),
    ("POST", "/search", {"query": MARK, "filter": {"user_id": "u", "tags": ["t"]}}, {}),
    ("POST", "", {"content": "mine"}, {"idempotency-key": "key"}),
    ("POST", "?on_duplicate=return", {"content": MARK, "user_id": "u"}, {}),
    ("PUT", "/{id}", {"content": "mine"}, {}),
]


@pytest.mark.parametrize(("method", "path", "body", "headers"), FOREIGN)
@pytest.mark.parametrize("state", ["live", "deleted"])
async def test_a_foreign_memory_is_not_there(
    callers: tuple[Caller, Caller], *, method: str, path: str, body: Any, headers: dict[str, str], state: str
) -> None:
    alice, eve = callers
    members = {"content": MARK, "user_id": "u", "tags": ["t"]}
    made = (await alice.call("POST", json=members, headers={"idempotency-key": "key"})).json()
    if state == "deleted":
        await alice.call("DELETE", f"/{made['id']}")
    before = (await alice.call("GET", f"/{made['id']}/history")).content
    answer = await eve.call(method, path.format(id=made["id"]), json=body, headers=headers)
    if "{id}" in path and method != "PUT":
        assert answer.status_code == 404
    elif "if-match" in headers:
        assert (answer.status_code, answer.json()["current_version"]) == (412, None)
    else:
        assert answer.status_code in {200, 201}
        assert answer.headers.get("etag", '"1"') == '"1"'
    assert MARK not in answer.text or (body or {}).get("content") == MARK
    assert "idempotency-replayed" not in answer.headers
    assert (await alice.call("GET", f"/{made['id']}/history")).content == before


@pytest.mark.parametrize("member", ["tenant", "created_by", "namespace", "id", "version"])
async def test_nobody_says_in_a_body_who_they_are(callers: tuple[Caller, Caller], member: str) -> None:
    _, eve = callers
    for method, path in (("POST", ""), ("PUT", "/k"), ("PATCH", "/k")):
        answer = await eve.call(method, path, json={"content": "x", member: "acme"})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == f"/{member}"


async def test_a_batch_reaches_no_foreign_memory(callers: tuple[Caller, Caller]) -> None:
    alice, eve = callers
    made = await alice.create(content=MARK, user_id="u")
    before = (await alice.call("GET", f"/{made['id']}/history")).content
    operations: list[Any] = [
        {"op": "patch", "id": made["id"], "patch": {"content": "taken"}},
        {"op": "delete", "id": made["id"]},
        {"op": "restore", "id": made["id"], "version": 1},
        {"op": "put", "id": made["id"], "memory": {"content": "taken"}, "if_match": 1},
        {"op": "create", "memory": {"content": "mine", "supersedes": [made["id"]]}},
    ]
    for is_atomic in (False, True):
        answer = await eve.call(
            "POST", "/batch", json={"operations": operations, "atomic": is_atomic, "documents": True}
        )
        assert MARK not in answer.text
        if not is_atomic:
            assert [one["status"] for one in answer.json()["results"]] == [404, 404, 404, 412, 422]
    assert (await alice.call("GET", f"/{made['id']}/history")).content == before


async def test_forgetting_and_namespaces_end_at_the_wall(callers: tuple[Caller, Caller]) -> None:
    alice, eve = callers
    made = await alice.create(content=MARK, user_id="u")
    counted = await eve.call("POST", "/forget", json={"filter": {"user_id": "u"}, "dry_run": True, "purge": True})
    assert counted.json()["count"] == 0
    body = {"filter": {"user_id": "u"}, "token": counted.json()["token"], "purge": True}
    assert (await eve.call("POST", "/forget", json=body)).json() == {"forgotten": 0, "is_complete": True}
    for method, status in (("GET", 404), ("DELETE", 404), ("PUT", 201), ("DELETE", 204)):
        settings = {"quota_rows": 1, "require_if_match": True} if method == "PUT" else None
        answer = await eve.call(method, "/../namespaces/default", json=settings)
        assert answer.status_code == status
    assert (await eve.call("GET", "/../namespaces")).json() == {"namespaces": [], "next_cursor": None}
    assert (await eve.call("GET", "/../stats")).json() == {"namespaces": 0, "memories": 0, "bytes": 0}
    assert (await alice.call("PATCH", f"/{made['id']}", json={"importance": 1})).status_code == 200


AROUND: list[tuple[str, str, Any, int]] = [
    ("GET", "/sessions/s/messages", None, 404),
    ("GET", "/sessions/s/state", None, 404),
    ("HEAD", "/sessions/s/state", None, 404),
    ("DELETE", "/sessions/s", None, 404),
    ("POST", "/sessions/s/messages", {"messages": [{"role": "user", "content": "mine"}]}, 201),
    ("POST", "/sessions/s/messages", {"messages": [{"role": "user", "content": "mine"}], "after": 1}, 412),
    ("PUT", "/sessions/s/state", {"data": {}}, 201),
    ("GET", "/changes", None, 200),
    ("GET", "/changes?since=0&limit=500", None, 200),
    ("GET", "/export", None, 200),
    ("GET", "/export?namespaces=all", None, 200),
    ("GET", "/jobs", None, 200),
    ("GET", "/jobs/{job}", None, 404),
    ("POST", "/context", {"budget_tokens": 9000, "query": MARK, "session_id": "s"}, 200),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), AROUND)
async def test_what_lies_around_memories_ends_at_the_wall(
    callers: tuple[Caller, Caller], store: SqliteStore, *, method: str, path: str, body: Any, status: int
) -> None:
    alice, eve = callers
    alice.base = eve.base = "/memory/v1"
    await store.save_job(begun("foreign", MARK, tenant="acme", actor="alice", at_us=1_800_000_000_000_000))
    turns = {"messages": [{"role": "user", "content": MARK}]}
    await alice.call("PUT", "/memories/k", json={"content": MARK, "pinned": True})
    await alice.call("POST", "/sessions/s/messages", json=turns, headers={"idempotency-key": "key"})
    await alice.call("PUT", "/sessions/s/state", json={"data": {"said": MARK}})
    before = (await alice.call("GET", "/export?namespaces=all")).content
    headers = {"idempotency-key": "key"} if method == "POST" and "sessions" in path else {}
    answer = await eve.call(method, path.format(job="foreign"), json=body, headers=headers)
    assert answer.status_code == status
    assert MARK not in answer.text
    assert "idempotency-replayed" not in answer.headers
    assert (await alice.call("GET", "/export?namespaces=all")).content == before
