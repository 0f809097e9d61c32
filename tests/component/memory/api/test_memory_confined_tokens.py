"""What a token for some namespaces, or for one user's memories, sees of a tenant, makes and changes."""

from typing import Any

import httpx
import pytest

from ragrid.services.memory.api.confinement import HELD_TO
from ragrid.services.memory.api.routes import MemoryApi
from ragrid.services.memory.inmemory.store import InMemoryStore
from ragrid.system.clock import ManualClock
from support.memory_calls import Caller
from support.token_mint import TokenMint

EVERYTHING = "memory:read memory:write memory:admin"


@pytest.fixture
def root(client: httpx.AsyncClient, mint: TokenMint) -> Caller:
    return Caller(client, mint.token(sub="root", tenant="acme", scope=EVERYTHING))


@pytest.fixture
def ada(client: httpx.AsyncClient, mint: TokenMint) -> Caller:
    return Caller(client, mint.token(sub="app", tenant="acme", scope=EVERYTHING, memory_user="ada"))


@pytest.fixture
def chats(client: httpx.AsyncClient, mint: TokenMint) -> Caller:
    return Caller(client, mint.token(sub="app", tenant="acme", scope=EVERYTHING, memory_ns=["notes", "chat-*"]))


def test_every_operation_that_is_held_exists() -> None:
    known = {one.id for one in MemoryApi(InMemoryStore(), ManualClock()).operations}
    assert set(HELD_TO) < known
    assert known - set(HELD_TO) == {"readStats", "readJob", "listJobs", "reembed", "backup"}


async def test_what_a_user_makes_is_the_users(ada: Caller, root: Caller) -> None:
    made = await ada.create(content="tea")
    assert made["user_id"] == "ada"
    put = await ada.call("PUT", "/k", json={"content": "coffee"})
    assert (put.status_code, put.json()["user_id"]) == (201, "ada")
    for method, path in (("POST", ""), ("PUT", "/k")):
        refused = await ada.call(method, path, json={"content": "x", "user_id": "bob"})
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/user_id")
    refused = await ada.call("PATCH", "/k", json={"user_id": "bob"})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/user_id")
    assert (await ada.call("PATCH", "/k", json={"importance": 1})).json()["user_id"] == "ada"
    assert (await ada.call("PATCH", "/k", json={"user_id": None})).json()["user_id"] == "ada"


async def test_what_is_another_users_is_not_there(ada: Caller, root: Caller) -> None:
    await root.call("PUT", "/bobs", json={"content": "secret tea", "user_id": "bob"})
    await root.call("PUT", "/nobodys", json={"content": "secret tea"})
    await root.call("PUT", "/gone", json={"content": "secret tea", "user_id": "bob"})
    await root.call("DELETE", "/gone")
    mine = await ada.create(content="my tea")
    for name in ("bobs", "nobodys", "gone"):
        for method, path, body in (
            ("GET", "", None), ("GET", "?include=embedding_status", None), ("GET", "?version=1", None),
            ("GET", "?as_of=2999-01-01T00:00:00Z", None), ("GET", "/history", None), ("DELETE", "", None),
            ("PATCH", "", {"importance": 1}), ("POST", "/restore", {"version": 1}), ("POST", "/restore", {}),
            ("PUT", "", {"content": "x"} if name != "gone" else None),
        ):  # fmt: skip
            if method == "PUT" and body is None:
                continue
            answer = await ada.call(method, f"/{name}{path}", json=body)
            assert (answer.status_code, "secret" in answer.text) == (404, False), (method, name, path, answer.text)
    assert await ada.ids() == [mine["id"]]
    assert await ada.ids(user_id="bob") == []
    assert await ada.search("tea") == [mine["id"]]
    assert await ada.search("tea", filter={"user_id": "bob"}) == []
    assert await ada.search("tea", as_of="2999-01-01T00:00:00Z") == [mine["id"]]
    counted = await ada.call("POST", "/forget", json={"filter": {}, "dry_run": True})
    assert counted.json()["count"] == 1
    refused = await ada.call("POST", "", json={"content": "x", "supersedes": ["bobs"]})
    assert refused.json()["errors"] == [{"pointer": "/supersedes/0", "detail": "no memory 'bobs' in this namespace"}]


async def test_a_memory_that_changed_hands_shows_each_what_was_theirs(ada: Caller, root: Caller) -> None:
    await root.call("PUT", "/k", json={"content": "secret", "user_id": "bob"})
    await root.call("PUT", "/k", json={"content": "open", "user_id": "ada"})
    events = (await ada.call("GET", "/k/history")).json()["events"]
    assert [one["memory"] and one["memory"]["content"] for one in events] == ["open", None]
    assert (await ada.call("GET", "/k?version=1")).status_code == 404
    refused = await ada.call("POST", "/k/restore", json={"version": 1})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/version")
    await root.call("PUT", "/k", json={"content": "secret", "user_id": "bob"})
    assert (await ada.call("GET", "/k?version=2")).status_code == 404
    assert (await ada.call("GET", "/k/history")).status_code == 404


async def test_an_idempotency_key_gives_nothing_of_another_user(client: httpx.AsyncClient, mint: TokenMint) -> None:
    for user, status in (("ada", 201), ("ada", 201), ("bob", 422)):
        token = mint.token(sub="app", tenant="acme", memory_user=user)
        answer = await Caller(client, token).call("POST", json={"content": "x"}, headers={"idempotency-key": "one"})
        assert answer.status_code == status
    batch = {"operations": [{"op": "create", "memory": {"content": "x"}, "idempotency_key": "two"}]}
    for user, status in (("ada", 201), ("bob", 422)):
        token = mint.token(sub="app", tenant="acme", memory_user=user)
        answer = await Caller(client, token).call("POST", "/batch", json=batch)
        assert answer.json()["results"][0]["status"] == status


async def test_a_duplicate_of_another_user_is_not_given_back(ada: Caller, root: Caller) -> None:
    await root.call("POST", "", json={"content": "tea"})
    answer = await ada.call("POST", "?on_duplicate=return", json={"content": "tea"})
    assert (answer.status_code, answer.json()["user_id"]) == (201, "ada")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/../export", None), ("GET", "/../changes", None), ("GET", "/../sessions", None),
        ("GET", "/../namespaces", None), ("GET", "/../stats", None), ("DELETE", "/k?purge=true", None),
        ("POST", "/forget", {"filter": {}, "dry_run": True, "purge": True}),
        ("POST", "/../context", {"budget_tokens": 10, "session_id": "chat"}),
    ],
)  # fmt: skip
async def test_what_is_about_more_than_one_user_is_refused(ada: Caller, method: str, path: str, body: Any) -> None:
    answer = await ada.call(method, path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (403, "token-confined")


async def test_some_namespaces_are_all_that_there_is(chats: Caller, root: Caller) -> None:
    for name in ("notes", "chat-7", "other", "default"):
        await root.call("PUT", "/k", json={"content": f"in {name}"}, headers={"memory-namespace": name})
    assert (await chats.call("GET", "/k")).json()["content"] == "in notes"  # the first is what is meant without a name
    assert (await chats.call("GET", "/k", headers={"memory-namespace": "chat-7"})).json()["content"] == "in chat-7"
    for name in ("other", "default"):
        answer = await chats.call("GET", "/k", headers={"memory-namespace": name})
        assert (answer.status_code, answer.json()["code"]) == (404, "namespace-not-found")
        assert (await chats.call("PUT", f"/../namespaces/{name}", json={})).status_code == 404
    listed = (await chats.call("GET", "/../namespaces")).json()["namespaces"]
    assert [one["name"] for one in listed] == ["chat-7", "notes"]
    exported = (await chats.call("GET", "/../export?namespaces=all")).text
    assert ("in chat-7" in exported, "in notes" in exported, "in other" in exported) == (True, True, False)
    assert exported.splitlines()[-1] == '{"kind":"end","lines":2}'
    whole = (await root.call("GET", "/../export?namespaces=all")).content
    answer = await chats.call("POST", "/../import", content=whole, headers={"content-type": "application/x-ndjson"})
    told = answer.json()
    assert (told["unchanged"], told["faulty"], {one["pointer"] for one in told["faults"]}) == (2, 2, {"/namespace"})
    assert (await chats.call("GET", "/../stats")).json()["code"] == "token-confined"
