"""Forgetting as a caller sees it: counted first, and only what was counted goes."""

from typing import Any

import httpx
import pytest

from ragrid.services.memory.api import forget
from support.memory_calls import Caller
from support.token_mint import TokenMint


async def asked(alice: Caller, status: int = 200, **members: Any) -> Any:
    answer = await alice.call("POST", "/forget", json=members)
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_a_dry_run_counts_and_its_token_carries_it_out(alice: Caller) -> None:
    for _ in range(3):
        await alice.create(user_id="u", tags=["x"])
    kept = await alice.create(user_id="v", tags=["x"])
    wanted = {"user_id": "u", "field": "tags", "op": "contains", "value": "x"}
    dry = await asked(alice, filter=wanted, dry_run=True)
    assert dry["count"] == 3
    assert len(await alice.ids()) == 4
    assert await asked(alice, filter=wanted, token=dry["token"]) == {"forgotten": 3, "is_complete": True}
    assert await alice.ids() == [kept["id"]]
    assert await asked(alice, filter=wanted, token=dry["token"]) == {"forgotten": 0, "is_complete": True}


async def test_what_came_after_the_count_stays(alice: Caller) -> None:
    for one in ("a", "b"):
        await alice.call("PUT", f"/{one}", json={"content": "x"})
    dry = await asked(alice, filter={}, dry_run=True)
    await alice.call("PUT", "/a", json={"content": "changed"})
    await alice.call("PUT", "/c", json={"content": "new"})
    assert (await asked(alice, filter={}, token=dry["token"]))["forgotten"] == 1
    assert await alice.ids() == ["c", "a"]


async def test_forgotten_is_deleted_and_can_be_brought_back(alice: Caller) -> None:
    await alice.call("PUT", "/k", json={"content": "x"})
    dry = await asked(alice, filter={}, dry_run=True)
    await asked(alice, filter={}, token=dry["token"])
    events = (await alice.call("GET", "/k/history")).json()["events"]
    assert [(one["op"], one["actor"]) for one in events] == [("delete", "alice"), ("create", "alice")]
    assert (await alice.call("POST", "/k/restore", json={})).status_code == 200


async def test_purging_takes_the_right_to_administer(alice: Caller, client: httpx.AsyncClient, mint: TokenMint) -> None:
    await alice.call("PUT", "/k", json={"content": "x"})
    assert (await asked(alice, 403, filter={}, dry_run=True, purge=True))["code"] == "insufficient-scope"
    admin = Caller(client, mint.token(tenant="acme", scope="memory:read memory:write memory:admin"))
    dry = await asked(admin, filter={}, dry_run=True, purge=True)
    await asked(admin, 422, filter={}, token=dry["token"])
    assert (await asked(admin, filter={}, token=dry["token"], purge=True))["forgotten"] == 1
    assert (await alice.call("GET", "/k/history")).status_code == 404


async def test_a_token_is_good_for_its_own_filter_only(
    alice: Caller, client: httpx.AsyncClient, mint: TokenMint
) -> None:
    await alice.create(user_id="u")
    token = (await asked(alice, filter={"user_id": "u"}, dry_run=True))["token"]
    for wanted in ({}, {"user_id": "v"}, {"user_id": "u", "tags": ["x"]}):
        refused = await asked(alice, 422, filter=wanted, token=token)
        assert refused["errors"][0]["pointer"] == "/token"
    there = Caller(client, mint.token(tenant="acme"), **{"memory-namespace": "work"})
    other = Caller(client, mint.token(tenant="evil"))
    for one in (there, other):
        await asked(one, 422, filter={"user_id": "u"}, token=token)
    assert len(await alice.ids()) == 1


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        ({"dry_run": True}, "/filter"),
        ({"filter": {}}, "/token"),
        ({"filter": {}, "dry_run": True, "token": "x"}, "/token"),
        ({"filter": {}, "token": "é"}, "/token"),
        ({"filter": {"user": "u"}, "dry_run": True}, "/filter/user"),
    ],
)
async def test_what_cannot_be_meant_is_refused(alice: Caller, members: Any, pointer: str) -> None:
    assert (await asked(alice, 422, **members))["errors"][0]["pointer"] == pointer


async def test_one_request_forgets_so_many_and_says_that_there_are_more(
    alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forget, "FORGET_LIMIT", 5)
    monkeypatch.setattr(forget, "_AT_ONCE", 2)
    for _ in range(7):
        await alice.create()
    token = (await asked(alice, filter={}, dry_run=True))["token"]
    assert await asked(alice, filter={}, token=token) == {"forgotten": 5, "is_complete": False}
    assert await asked(alice, filter={}, token=token) == {"forgotten": 2, "is_complete": True}


async def test_careful_namespaces_take_a_token_for_the_version(
    alice: Caller, client: httpx.AsyncClient, mint: TokenMint
) -> None:
    admin = {"authorization": f"Bearer {mint.token(tenant='acme', scope='memory:admin')}"}
    await alice.create()
    await client.put("/memory/v1/namespaces/default", json={"require_if_match": True}, headers=admin)
    token = (await asked(alice, filter={}, dry_run=True))["token"]
    assert (await asked(alice, filter={}, token=token))["forgotten"] == 1
