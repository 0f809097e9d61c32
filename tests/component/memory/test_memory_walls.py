"""No tenant reaches another's memories, whatever it asks for, on the store that ships."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragrid.services.memory.service import build_memory_application
from ragrid.services.memory.sqlite.store import SqliteStore
from support.memory_calls import Caller
from support.token_mint import TokenMint

MARK = "zanzibar"


@pytest.fixture
async def callers(tmp_path: Path) -> AsyncIterator[tuple[Caller, Caller]]:
    mint = TokenMint()
    store = SqliteStore.open(tmp_path)
    application = build_memory_application(store, mint.verifier(), mint.clock, prefix="/memory")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://memory") as client:
        yield (
            Caller(client, mint.token(tenant="acme", sub="alice")),
            Caller(client, mint.token(tenant="evil", sub="eve")),
        )
    await store.close()


FOREIGN: list[tuple[str, str, Any, dict[str, str]]] = [
    ("GET", "/{id}", None, {}),
    ("HEAD", "/{id}", None, {}),
    ("GET", "/{id}", None, {"if-none-match": "*"}),
    ("GET", "/{id}/history", None, {}),
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
    assert MARK not in answer.text
    assert "idempotency-replayed" not in answer.headers
    assert (await alice.call("GET", f"/{made['id']}/history")).content == before


@pytest.mark.parametrize("member", ["tenant", "created_by", "namespace", "id", "version"])
async def test_nobody_says_in_a_body_who_they_are(callers: tuple[Caller, Caller], member: str) -> None:
    _, eve = callers
    for method, path in (("POST", ""), ("PUT", "/k"), ("PATCH", "/k")):
        answer = await eve.call(method, path, json={"content": "x", member: "acme"})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == f"/{member}"
