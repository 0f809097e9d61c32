"""Namespaces as a caller sees them: settings, quotas, careful writers, and their end."""

from typing import Any

import httpx
import pytest

from support.memory_calls import Caller
from support.token_mint import TokenMint

NAMESPACES = "/memory/v1/namespaces"


@pytest.fixture
def headers(mint: TokenMint) -> dict[str, str]:
    token = mint.token(sub="root", tenant="acme", scope="memory:read memory:write memory:admin")
    return {"authorization": f"Bearer {token}"}


async def configure(client: httpx.AsyncClient, headers: dict[str, str], **settings: Any) -> httpx.Response:
    answer = await client.put(f"{NAMESPACES}/default", json=settings, headers=headers)
    assert answer.status_code in {200, 201}, answer.text
    return answer


async def test_settings_are_put_and_read(client: httpx.AsyncClient, headers: dict[str, str], alice: Caller) -> None:
    made = await configure(client, headers, quota_rows=3, default_ttl_seconds=60)
    assert (made.status_code, made.headers["etag"]) == (201, '"1"')
    await alice.create()
    read = await client.get(f"{NAMESPACES}/default", headers=headers)
    assert read.json() == {
        "name": "default",
        "default_ttl_seconds": 60,
        "quota_rows": 3,
        "quota_bytes": None,
        "on_duplicate": "keep",
        "require_if_match": False,
        "embedder": "grid",
        "brought_model": None,
        "brought_dimension": None,
        "memories": 1,
        "bytes": read.json()["bytes"],
        "version": 1,
        "created_at": "2027-01-15T08:00:00Z",
        "updated_at": "2027-01-15T08:00:00Z",
        "updated_by": "root",
    }
    changed = await client.put(f"{NAMESPACES}/default", json={}, headers={**headers, "if-match": '"1"'})
    assert (changed.status_code, changed.headers["etag"], changed.json()["quota_rows"]) == (200, '"2"', None)
    stale = await client.put(f"{NAMESPACES}/default", json={}, headers={**headers, "if-match": '"1"'})
    assert (stale.status_code, stale.json()["current_version"]) == (412, 2)
    stats = await client.get("/memory/v1/stats", headers=headers)
    assert stats.json() == {"namespaces": 1, "memories": 1, "bytes": read.json()["bytes"]}


async def test_only_administrators_change_namespaces(client: httpx.AsyncClient, mint: TokenMint) -> None:
    writer = {"authorization": f"Bearer {mint.token(scope='memory:read memory:write')}"}
    assert (await client.put(f"{NAMESPACES}/x", json={}, headers=writer)).status_code == 403
    assert (await client.delete(f"{NAMESPACES}/x", headers=writer)).status_code == 403
    assert (await client.get(f"{NAMESPACES}/x", headers=writer)).json()["code"] == "namespace-not-found"
    assert (await client.get(NAMESPACES, headers=writer)).json() == {"namespaces": [], "next_cursor": None}


@pytest.mark.parametrize(
    ("settings", "pointer"),
    [
        ({"quota_rows": 0}, "/quota_rows"),
        ({"quota_bytes": "many"}, "/quota_bytes"),
        ({"default_ttl_seconds": -1}, "/default_ttl_seconds"),
        ({"on_duplicate": "merge"}, "/on_duplicate"),
        ({"qouta_rows": 5}, "/qouta_rows"),
    ],
)
async def test_settings_that_mean_nothing_are_refused(
    client: httpx.AsyncClient, headers: dict[str, str], settings: Any, pointer: str
) -> None:
    answer = await client.put(f"{NAMESPACES}/default", json=settings, headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


async def test_a_name_has_few_characters(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    for name in ("a b", "x" * 65, "ä", "a:b"):
        answer = await client.put(f"{NAMESPACES}/{name}", json={}, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid-namespace")


async def test_a_quota_is_507_and_says_its_limit(
    client: httpx.AsyncClient, headers: dict[str, str], alice: Caller
) -> None:
    await configure(client, headers, quota_rows=1)
    await alice.create()
    answer = await alice.call("POST", json={"content": "one too many"})
    refused = answer.json()
    assert (answer.status_code, refused["code"], refused["quota"], refused["limit"]) == (
        507,
        "quota-exceeded",
        "quota_rows",
        1,
    )


async def test_careful_namespaces_ask_for_a_version(
    client: httpx.AsyncClient, headers: dict[str, str], alice: Caller
) -> None:
    await configure(client, headers, require_if_match=True)
    bare = await alice.call("PUT", "/k", json={"content": "x"})
    assert (bare.status_code, bare.json()["code"]) == (428, "precondition-required")
    assert (await alice.call("PUT", "/k", json={"content": "x"}, headers={"if-none-match": "*"})).status_code == 201
    assert (await alice.call("DELETE", "/k")).status_code == 428
    assert (await alice.call("POST", "/k/restore", json={"version": 1})).status_code == 428
    assert (await alice.call("DELETE", "/k", headers={"if-match": '"1"'})).status_code == 204
    assert (await alice.call("POST", json={"content": "x"})).status_code == 201


async def test_a_namespace_is_deleted_with_what_is_in_it(
    client: httpx.AsyncClient, headers: dict[str, str], alice: Caller
) -> None:
    await alice.call("PUT", "/k", json={"content": "x"})
    assert (await client.delete(f"{NAMESPACES}/default", headers=headers)).status_code == 204
    assert (await client.delete(f"{NAMESPACES}/default", headers=headers)).status_code == 404
    for path in ("/k", "/k/history"):
        assert (await alice.call("GET", path)).status_code == 404


async def test_namespaces_are_paged(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    for number in range(5):
        await client.put(f"{NAMESPACES}/n{number}", json={}, headers=headers)
    seen: list[str] = []
    params: dict[str, Any] = {"limit": 2}
    while True:
        page = (await client.get(NAMESPACES, params=params, headers=headers)).json()
        seen += [one["name"] for one in page["namespaces"]]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert seen == ["n4", "n3", "n2", "n1", "n0"]
