"""The memory API as a caller sees it: statuses, headers, documents, refusals."""

from typing import Any

import httpx
import pytest

from ragrid.services.memory.api.parameters import LIST_LIMIT
from ragrid.system.clock import ManualClock
from support.memory_calls import MEMORIES, Caller
from support.token_mint import TokenMint


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


async def test_create_answers_with_location_etag_and_the_memory(alice: Caller) -> None:
    answer = await alice.call("POST", json={"content": "tea at four", "tags": ["drink"]})
    assert answer.status_code == 201
    made = answer.json()
    assert answer.headers["location"] == f"{MEMORIES}/{made['id']}"
    assert answer.headers["etag"] == '"1"'
    read = await alice.call("GET", f"/{made['id']}")
    assert (read.status_code, read.json(), read.headers["etag"]) == (200, made, '"1"')
    assert (made["created_by"], made["namespace"], made["version"]) == ("alice", "default", 1)


async def test_head_has_the_headers_of_get(alice: Caller) -> None:
    made = await alice.create()
    head, get = await alice.call("HEAD", f"/{made['id']}"), await alice.call("GET", f"/{made['id']}")
    assert (head.status_code, head.headers["etag"]) == (200, '"1"')
    assert head.headers["content-length"] == get.headers["content-length"]


@pytest.mark.parametrize(
    ("if_none_match", "status"),
    [
        ('"1"', 304),
        ('W/"1"', 304),
        ("*", 304),
        ('"7", "1"', 304),
        ('"2"', 200),
        ('"x"', 200),
        ("1", 400),
        ('"1" oh', 400),
    ],
)
async def test_a_read_of_what_the_caller_has_is_304(alice: Caller, if_none_match: str, status: int) -> None:
    made = await alice.create()
    answer = await alice.call("GET", f"/{made['id']}", headers={"if-none-match": if_none_match})
    assert answer.status_code == status
    if status == 304:
        assert (answer.content, answer.headers["etag"]) == (b"", '"1"')


async def test_put_creates_then_replaces(alice: Caller) -> None:
    first = await alice.call("PUT", "/my.key~1", json={"content": "one", "user_id": "u"})
    second = await alice.call("PUT", "/my.key~1", json={"content": "two"})
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.headers["location"] == f"{MEMORIES}/my.key~1"
    assert (second.json()["content"], second.json()["user_id"], second.headers["etag"]) == ("two", None, '"2"')


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"if-match": '"1"'}, 200),
        ({"if-match": '"9", "1"'}, 200),
        ({"if-match": "*"}, 200),
        ({"if-match": '"2"'}, 412),
        ({"if-match": 'W/"1"'}, 412),
        ({"if-match": '"abc"'}, 412),
        ({"if-match": "1"}, 400),
        ({"if-none-match": "*"}, 412),
        ({"if-none-match": '"1"'}, 400),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_preconditions(alice: Caller, method: str, headers: dict[str, str], status: int) -> None:
    await alice.call("PUT", "/k", json={"content": "one"})
    body = None if method == "DELETE" else {"content": "two"}
    answer = await alice.call(method, "/k", json=body, headers=headers)
    assert answer.status_code == (204 if status == 200 and method == "DELETE" else status)
    if status == 412:
        assert answer.json()["current_version"] == 1
        assert (await alice.call("GET", "/k")).json()["content"] == "one"


async def test_a_patch_must_be_a_merge_patch(alice: Caller) -> None:
    await alice.call("PUT", "/k", json={"content": "one"})
    answer = await alice.call("PATCH", "/k", json={}, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.headers["accept-patch"]) == (415, "application/merge-patch+json")


async def test_delete_hides_it_and_keeps_its_history(alice: Caller) -> None:
    await alice.call("PUT", "/k", json={"content": "one"})
    assert (await alice.call("DELETE", "/k")).status_code == 204
    assert (await alice.call("GET", "/k")).status_code == (await alice.call("DELETE", "/k")).status_code == 404
    events = (await alice.call("GET", "/k/history")).json()["events"]
    assert [(one["op"], one["version"], one["actor"]) for one in events] == [
        ("delete", 2, "alice"),
        ("create", 1, "alice"),
    ]
    assert (events[0]["memory"], events[1]["memory"]["content"]) == (None, "one")


async def test_history_is_paged(alice: Caller) -> None:
    for number in range(5):
        await alice.call("PUT", "/k", json={"content": str(number)})
    seen, params = [], {"limit": "2"}
    for _ in range(3):
        page = (await alice.call("GET", "/k/history", params=params)).json()
        seen += [one["version"] for one in page["events"]]
        params["cursor"] = page["next_cursor"]
    assert seen == [5, 4, 3, 2, 1]
    assert page["next_cursor"] is None


async def test_a_walk_through_a_list(alice: Caller) -> None:
    made = [(await alice.create(tags=["x"]))["id"] for _ in range(7)]
    seen: list[str] = []
    params = {"limit": "3", "tag": "x"}
    while True:
        page = (await alice.call("GET", params=params)).json()
        seen += [one["id"] for one in page["memories"]]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert seen == made[::-1]


async def test_a_cursor_is_good_for_its_own_list_only(
    alice: Caller, client: httpx.AsyncClient, mint: TokenMint
) -> None:
    for _ in range(3):
        await alice.create(user_id="u")
    cursor = (await alice.call("GET", params={"limit": 1, "user_id": "u"})).json()["next_cursor"]
    for params in ({}, {"user_id": "v"}, {"user_id": "u", "tag": "x"}):
        answer = await alice.call("GET", params={**params, "cursor": cursor})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid-cursor")
    other = Caller(client, mint.token(tenant="evil"))
    assert (await other.call("GET", params={"user_id": "u", "cursor": cursor})).status_code == 400
    assert (await alice.call("GET", params={"user_id": "u", "cursor": cursor})).status_code == 200


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"user": "u"}, "did you mean 'user_id'?"),
        ([("user_id", "u"), ("user_id", "v")], "more than once"),
        ({"limit": 0}, f"wanted 1 to {LIST_LIMIT}"),
        ({"limit": LIST_LIMIT + 1}, f"wanted 1 to {LIST_LIMIT}"),
        ({"limit": "٣"}, f"wanted 1 to {LIST_LIMIT}"),
        ({"type": "dream"}, "type"),
        ({"user_id": ""}, "length >= 1"),
        ({"cursor": "AAAA"}, "cursor"),
        ({"cursor": "é"}, "cursor"),
        ({"cursor": "A" * 5000}, "cursor"),
    ],
)
async def test_a_query_string_is_taken_at_its_word(alice: Caller, params: Any, says: str) -> None:
    answer = await alice.call("GET", params=params)
    assert answer.status_code == 400
    assert says in answer.json()["detail"]


async def test_filters_of_lists_and_searches(alice: Caller) -> None:
    a = (await alice.create(content="coffee", user_id="u", tags=["x", "y"]))["id"]
    b = (await alice.create(content="coffee", user_id="u", tags=["x"], type="episodic"))["id"]
    await alice.create(content="coffee", user_id="v")
    assert await alice.ids(user_id="u") == [b, a]
    assert await alice.ids(tag=["x", "y"]) == [a]
    assert await alice.ids(type="episodic", tag="x") == [b]
    assert set(await alice.search("coffee", filter={"user_id": "u"})) == {a, b}
    assert await alice.search("coffee", filter={"tags": ["x", "y"]}) == [a]
    assert await alice.search("coffee", filter={"user_id": "nobody"}) == []
    assert len(await alice.search("coffee", k=1)) == 1


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/query"),
        ({"query": ""}, "/query"),
        ({"query": "?!"}, "/query"),
        ({"query": "x" * 2001}, "/query"),
        ({"query": "x", "k": 101}, "/k"),
        ({"query": "x", "filter": {"user": "u"}}, "/filter/user"),
        ({"query": "x", "mode": "magic"}, "/mode"),
    ],
)
async def test_a_search_that_cannot_be_meant_is_refused(alice: Caller, body: dict[str, Any], pointer: str) -> None:
    answer = await alice.call("POST", "/search", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize(
    ("members", "pointer", "says"),
    [
        ({"content": ""}, "/content", "32768"),
        ({"content": None}, "/content", "expected `str`"),
        ({"content": "é" * 16385}, "/content", "got 32770 bytes of UTF-8, wanted at most 32768"),
        ({"data": {"a": "x" * 65536}}, "/data", "wanted at most 65536"),
        ({"data": []}, "/data", "expected `object`"),
        ({"data": {"a": nested(40)}}, "/data", "more than 32 levels"),
        ({"contents": "x"}, "/contents", "did you mean 'content'?"),
        ({"tenant": "evil"}, "/tenant", "unknown member"),
        ({"created_by": "eve"}, "/created_by", "set by the service"),
        ({"a/b~": 1}, "/a~1b~0", "unknown member"),
        ({"importance": 1.1}, "/importance", "<= 1.0"),
        ({"tags": ["x", "x"]}, "/tags", "each tag once"),
        ({"tags": ["x" * 65]}, "/tags/0", "<= 64"),
        ({"tags": [str(n) for n in range(33)]}, "/tags", "<= 32"),
        ({"metadata": {"a": {}}}, "/metadata", "expected"),
        ({"metadata": {"a": "x" * 16385}}, "/metadata", "wanted at most 16384"),
        ({"source": {"kind": "k", "url": 1}}, "/source/url", "unknown field"),
        ({"type": "dream"}, "/type", "invalid enum value 'dream'"),
        ({"ttl_seconds": 0}, "/ttl_seconds", ">= 1"),
        ({"ttl_seconds": 1, "expires_at": "2100-01-01T00:00:00Z"}, "/ttl_seconds", "got both"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at", "in the future"),
        ({"expires_at": "2100-01-01T00:00:00"}, "/expires_at", "timezone"),
        ({"valid_from": "2100-01-02T00:00:00Z", "valid_to": "2100-01-01T00:00:00Z"}, "/valid_to", "after"),
    ],
)
async def test_each_limit_is_named_with_its_pointer(
    alice: Caller, members: dict[str, Any], pointer: str, says: str
) -> None:
    answer = await alice.call("POST", json={"content": "a fact", **members})
    assert answer.status_code == 422, answer.text
    errors = {one["pointer"]: one["detail"] for one in answer.json()["errors"]}
    assert says in errors[pointer]
    assert await alice.ids() == []


async def test_all_faults_come_at_once(alice: Caller) -> None:
    answer = await alice.call(
        "POST",
        json={
            "contents": "x",
            "importance": 2,
            "tags": [""],
            "user_id": 7,
            "ttl_seconds": 1,
            "expires_at": "2100-01-01T00:00:00Z",
        },
    )
    pointers = {one["pointer"] for one in answer.json()["errors"]}
    assert pointers == {"/contents", "/importance", "/tags/0", "/user_id", "/ttl_seconds"}


@pytest.mark.parametrize("members", [{"content": "x" * 32768}, {"content": "", "data": {"a": 1}}, {"importance": 1}])
async def test_what_lies_on_a_limit_is_taken(alice: Caller, members: dict[str, Any]) -> None:
    assert (await alice.call("POST", json={"content": "a fact", **members})).status_code == 201


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"{'content': 1}", b"NaN"])
async def test_what_is_not_json_is_400(alice: Caller, body: bytes) -> None:
    for method, path in (("POST", ""), ("PUT", "/k"), ("PATCH", "/k"), ("POST", "/search")):
        answer = await alice.call(method, path, content=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid-json")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"data":' * 50_000,
        b'{"content":"a","data":{"a":1e999}}',
        b'{"content":"\\ud800"}',
        b"[1]",
        b"7",
    ],
)
async def test_hostile_json_is_refused(alice: Caller, body: bytes) -> None:
    for method, path in (("POST", ""), ("PUT", "/k"), ("PATCH", "/k"), ("POST", "/search")):
        assert (await alice.call(method, path, content=body)).status_code in {400, 422}


async def test_a_body_over_the_limit_is_413(alice: Caller) -> None:
    answer = await alice.call("POST", content=b" " * (512 * 1024 + 1))
    assert (answer.status_code, answer.json()["limit_bytes"]) == (413, 512 * 1024)


async def test_a_body_must_be_declared_as_json(alice: Caller) -> None:
    answer = await alice.call("POST", content=b"{}", headers={"content-type": "text/plain"})
    assert answer.status_code == 415


async def test_numbers_and_text_come_back_as_they_went(alice: Caller) -> None:
    data = {"big": 2**80, "small": -1.5e-300, "text": "a\0b \u2028 😀 \"'", "": [None, True, {"x": {}}]}
    made = await alice.create(content="nul \0 inside", data=data)
    read = (await alice.call("GET", f"/{made['id']}")).json()
    assert (read["data"], read["content"]) == (data, "nul \0 inside")


@pytest.mark.parametrize("memory_id", ["a b", "é", "x" * 129, "a:b", "..%00", "%2e%2e"])
async def test_an_id_has_few_characters(alice: Caller, memory_id: str) -> None:
    answer = await alice.call("PUT", f"/{memory_id}", json={"content": "x"})
    assert answer.status_code in {400, 404, 405}
    assert await alice.ids() == []


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "a/b", "ä"])
async def test_a_namespace_has_few_characters(client: httpx.AsyncClient, mint: TokenMint, name: str) -> None:
    answer = await client.get(
        MEMORIES, headers=[(b"authorization", b"Bearer " + mint.token().encode()), (b"memory-namespace", name.encode())]
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-namespace")


async def test_namespaces_are_apart(alice: Caller, client: httpx.AsyncClient, mint: TokenMint) -> None:
    there = Caller(client, mint.token(tenant="acme"), **{"memory-namespace": "work"})
    await alice.call("PUT", "/k", json={"content": "home"})
    await there.call("PUT", "/k", json={"content": "work"})
    assert (await alice.call("GET", "/k")).json()["content"] == "home"
    assert (await there.call("GET", "/k")).json()["namespace"] == "work"


async def test_rights_come_from_the_token(client: httpx.AsyncClient, mint: TokenMint) -> None:
    reader = Caller(client, mint.token(scope="memory:read"))
    writer = Caller(client, mint.token(scope="memory:write"))
    for method, path in (("POST", ""), ("PUT", "/k"), ("PATCH", "/k"), ("DELETE", "/k")):
        body = None if method == "DELETE" else {"content": "x"}
        assert (await reader.call(method, path, json=body)).status_code == 403
    for method, path in (("GET", ""), ("GET", "/k"), ("HEAD", "/k"), ("GET", "/k/history"), ("POST", "/search")):
        body = {"query": "x"} if method == "POST" else None
        assert (await writer.call(method, path, json=body)).status_code == 403
    assert (await client.get(MEMORIES)).status_code == 401


async def test_an_idempotency_key_replays_the_answer(alice: Caller) -> None:
    headers = {"idempotency-key": '"c1f7"'}
    first = await alice.call("POST", json={"content": "once"}, headers=headers)
    again = await alice.call("POST", json={"content": "once"}, headers={"idempotency-key": "c1f7"})
    assert (first.status_code, again.status_code) == (201, 201)
    assert (again.content, again.headers["location"]) == (first.content, first.headers["location"])
    assert (again.headers["idempotency-replayed"], "idempotency-replayed" in first.headers) == ("true", False)
    other = await alice.call("POST", json={"content": "twice"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    assert (await alice.call("POST", json={}, headers={"idempotency-key": "a b"})).status_code == 400


async def test_a_memory_is_gone_at_the_instant_it_expires(alice: Caller, clock: ManualClock) -> None:
    made = await alice.create(content="tea", ttl_seconds=10)
    assert made["expires_at"] == "2027-01-15T08:00:10Z"
    clock.advance(9.999)
    assert await alice.ids() == await alice.search("tea") == [made["id"]]
    clock.advance(0.001)
    assert await alice.ids() == await alice.search("tea") == []
    for path in (f"/{made['id']}", f"/{made['id']}/history"):
        assert (await alice.call("GET", path)).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("PATCH", "", "GET, POST"), ("DELETE", "", "GET, POST"), ("POST", "/k", "PUT"), ("DELETE", "/k/history", "GET")],
)
async def test_other_methods_are_405_and_say_which_are_allowed(
    alice: Caller, method: str, path: str, allowed: str
) -> None:
    answer = await alice.call(method, path)
    assert answer.status_code == 405
    assert set(allowed.split(", ")) <= set(answer.headers["allow"].split(", "))
    assert answer.headers["content-type"] == "application/problem+json"


async def test_readiness_reads_the_store(client: httpx.AsyncClient) -> None:
    assert (await client.get("/readyz")).json() == {"status": "ready", "store": "ok", "memories": 0}
