"""Earlier versions, restoring, purging and duplicates as a caller sees them."""

from typing import Any

import httpx
import pytest

from ragrid.system.clock import ManualClock
from support.memory_calls import Caller
from support.token_mint import TokenMint


@pytest.fixture
def admin(client: httpx.AsyncClient, mint: TokenMint) -> Caller:
    return Caller(client, mint.token(sub="root", tenant="acme", scope="memory:read memory:write memory:admin"))


async def content(alice: Caller, **params: Any) -> Any:
    answer = await alice.call("GET", "/k", params=params)
    return answer.json()["content"] if answer.status_code == 200 else answer.status_code


async def test_a_read_of_the_past(alice: Caller, clock: ManualClock) -> None:
    for number in (1, 2):
        await alice.call("PUT", "/k", json={"content": f"v{number}"})
        clock.advance(10)
    await alice.call("DELETE", "/k")
    assert [await content(alice, version=n) for n in (1, 2, 3, 4)] == ["v1", "v2", 404, 404]
    assert await content(alice, as_of="2027-01-15T08:00:09.999999Z") == "v1"
    assert await content(alice, as_of="2027-01-15T09:00:10+01:00") == "v2"
    assert await content(alice, as_of="2027-01-15T08:00:20Z") == 404
    answer = await alice.call("GET", "/k", params={"version": 1})
    assert answer.headers["etag"] == '"1"'
    again = await alice.call("GET", "/k", params={"version": 1}, headers={"if-none-match": '"1"'})
    assert (again.status_code, again.content) == (304, b"")
    assert (await alice.call("HEAD", "/k", params={"version": 1})).status_code == 200


@pytest.mark.parametrize(
    "params",
    [
        {"version": 0},
        {"version": "one"},
        {"as_of": "yesterday"},
        {"as_of": "2027-01-15T08:00:00"},
        {"version": 1, "as_of": "2027-01-15T08:00:00Z"},
        {"versoin": 1},
        [("version", 1), ("version", 2)],
    ],
)
async def test_a_question_about_the_past_is_taken_at_its_word(alice: Caller, params: Any) -> None:
    await alice.call("PUT", "/k", json={"content": "one"})
    assert (await alice.call("GET", "/k", params=params)).status_code == 400


async def test_restoring(alice: Caller) -> None:
    for number in (1, 2):
        await alice.call("PUT", "/k", json={"content": f"v{number}"})
    answer = await alice.call("POST", "/k/restore", json={"version": 1}, headers={"if-match": '"2"'})
    assert (answer.status_code, answer.headers["etag"], answer.json()["content"]) == (200, '"3"', "v1")
    assert (await alice.call("POST", "/k/restore", json={}, headers={"if-match": '"2"'})).status_code == 412
    await alice.call("DELETE", "/k")
    assert (await alice.call("POST", "/k/restore", json={})).json()["content"] == "v1"
    refused = await alice.call("POST", "/k/restore", json={"version": 4})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/version")
    assert (await alice.call("POST", "/nobody/restore", json={})).status_code == 404
    assert (await alice.call("POST", "/k/restore", json={"versoin": 1})).status_code == 422


async def test_purging_takes_the_right_to_administer(alice: Caller, admin: Caller) -> None:
    await alice.call("PUT", "/k", json={"content": "secret"})
    refused = await alice.call("DELETE", "/k", params={"purge": "true"})
    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient-scope")
    assert await content(alice) == "secret"
    assert (await admin.call("DELETE", "/k", params={"purge": "maybe"})).status_code == 400
    assert (await admin.call("DELETE", "/k", params={"purge": "true"})).status_code == 204
    assert (await alice.call("GET", "/k/history")).status_code == await content(alice, version=1) == 404
    assert (await admin.call("DELETE", "/k", params={"purge": "true"})).status_code == 404


async def test_a_create_says_what_to_do_with_duplicates(alice: Caller) -> None:
    first = await alice.create(content="tea")
    returned = await alice.call("POST", params={"on_duplicate": "return"}, json={"content": "tea"})
    assert (returned.status_code, returned.json(), returned.headers["etag"]) == (200, first, '"1"')
    assert "location" not in returned.headers
    taken = await alice.call("POST", params={"on_duplicate": "supersede"}, json={"content": "tea"})
    assert (taken.status_code, taken.json()["supersedes"]) == (201, [first["id"]])
    old = (await alice.call("GET", f"/{first['id']}")).json()
    assert (old["superseded_by"], old["version"]) == (taken.json()["id"], 2)
    assert (await alice.call("POST", params={"on_duplicate": "merge"}, json={"content": "tea"})).status_code == 400


async def test_a_key_belongs_to_the_wish_as_well(alice: Caller) -> None:
    headers = {"idempotency-key": "k1"}
    await alice.call("POST", json={"content": "tea"}, headers=headers)
    other = await alice.call("POST", params={"on_duplicate": "return"}, json={"content": "tea"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")


async def test_superseded_by_is_for_the_service_to_set(alice: Caller) -> None:
    answer = await alice.call("POST", json={"content": "x", "superseded_by": "k"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/superseded_by")
    twice = await alice.call("POST", json={"content": "x", "supersedes": ["k", "k"]})
    assert twice.json()["errors"] == [{"pointer": "/supersedes", "detail": "wanted each id once"}]
    named = await alice.call("POST", json={"content": "x", "supersedes": ["nobody", "a b"]})
    assert {one["pointer"] for one in named.json()["errors"]} == {"/supersedes/1"}
