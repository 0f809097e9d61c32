"""What nobody should send: each is a refusal of its own, and nothing stays behind that hurts a later request."""

from typing import Any

import httpx
import msgspec
import pytest

from ragrid.services.memory.cursor import encode_cursor
from ragrid.services.memory.protocol.memories import Filter
from support.memory_calls import Caller
from support.token_mint import TokenMint

#: In the calendar of their own zone, and not in that of UTC.
BEYOND = ("9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00")
THEN = "2027-01-15T08:00:00Z"
LINES: dict[str, dict[str, Any]] = {
    "namespace": {
        "default_ttl_seconds": None,
        "quota_rows": None,
        "quota_bytes": None,
        "on_duplicate": "keep",
        "require_if_match": False,
        "updated_at": THEN,
        "updated_by": "a",
    },
    "message": {
        "session_id": "s",
        "index": 1,
        "role": "user",
        "name": None,
        "content": "x",
        "data": {},
        "metadata": {},
        "expires_at": None,
        "created_at": THEN,
        "created_by": "a",
    },
    "state": {
        "session_id": "s",
        "data": {},
        "version": 1,
        "ttl_seconds": 5,
        "expires_at": None,
        "updated_at": THEN,
        "updated_by": "a",
    },
    "memory": {
        "op": "create",
        "id": "k",
        "version": 1,
        "at": THEN,
        "actor": "a",
        "memory": {"content": "x", "created_at": THEN, "created_by": "a"},
    },
}


@pytest.fixture
def root(client: httpx.AsyncClient, mint: TokenMint) -> Caller:
    one = Caller(client, mint.token(sub="root", tenant="acme", scope="memory:read memory:write memory:admin"))
    one.base = "/memory/v1"
    return one


def line(kind: str, **members: Any) -> dict[str, Any]:
    return {"kind": kind, "namespace": "default", **LINES[kind], **members}


async def taken(root: Caller, one: dict[str, Any]) -> Any:
    header = {"kind": "header", "format": "ragrid-memory", "format_version": 2}
    content = b"\n".join(msgspec.json.encode(each) for each in (header, one))
    answer = await root.call("POST", "/import", content=content, headers={"content-type": "application/x-ndjson"})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("beyond", BEYOND)
@pytest.mark.parametrize(
    ("kind", "pointer"),
    [
        ("namespace", "/updated_at"),
        ("message", "/created_at"),
        ("message", "/expires_at"),
        ("state", "/updated_at"),
        ("state", "/expires_at"),
        ("memory", "/at"),
        ("memory", "/memory/created_at"),
    ],
)
async def test_a_time_beyond_the_calendar_of_utc_is_a_fault_of_its_line(
    root: Caller, kind: str, pointer: str, beyond: str
) -> None:
    assert (await taken(root, line(kind)))["faults"] == [], "the line is right but for the time"
    name = pointer.rpartition("/")[2]
    if pointer.startswith("/memory/"):
        hostile = line(kind, id="other", memory={**LINES[kind]["memory"], name: beyond})
    else:
        hostile = line(kind, **{name: beyond})
    (fault,) = (await taken(root, hostile))["faults"]
    assert fault["pointer"] == pointer, fault
    for path in ("/namespaces", "/namespaces/default", "/export?namespaces=all", "/sessions", "/memories"):
        answer = await root.call("GET", path)
        assert answer.status_code in (200, 404), (path, answer.text)


@pytest.mark.parametrize("position", [2**63, 2**64 - 1])
async def test_a_forged_cursor_is_refused(root: Caller, position: int) -> None:
    await root.call("PUT", "/memories/k", json={"content": "x"})
    members = msgspec.structs.astuple(Filter())
    listed = encode_cursor(position, ("list", "acme", "default", *members))
    answer = await root.call("GET", "/memories", params={"cursor": listed})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-cursor")
    history = encode_cursor(position, ("history", "acme", "default", "k"))
    answer = await root.call("GET", "/memories/k/history", params={"cursor": history})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-cursor")
    token = encode_cursor(position, ("forget", False, "acme", "default", *members))
    answer = await root.call("POST", "/memories/forget", json={"filter": {}, "token": token})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/token")


async def test_an_integer_of_hundreds_of_digits(root: Caller) -> None:
    huge = int("9" * 400)
    await root.call("PUT", "/memories/k", json={"content": "tea", "metadata": {"n": huge}})
    term = {"field": "metadata.n", "op": "gt", "value": huge}
    answer = await root.call("POST", "/memories/search", json={"query": "tea", "filter": {"and": [term]}})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/filter/and/0/value")
    among = {"query": "tea", "filter": {"and": [{**term, "value": 5}]}}
    for more in ({}, {"as_of": "2099-01-01T00:00:00Z"}):
        answer = await root.call("POST", "/memories/search", json={**among, **more})
        assert [one["memory"]["id"] for one in answer.json()["results"]] == ["k"], answer.text


async def test_a_number_beyond_all_numbers_is_json(root: Caller) -> None:
    answer = await root.call("POST", "/memories", content=b'{"content":"x","data":{"n":1e400}}')
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-memory"), answer.text
    assert "$" not in answer.text


async def test_a_packed_body_is_refused_as_that(root: Caller) -> None:
    for path, kind in (("/memories", "application/json"), ("/import", "application/x-ndjson")):
        headers = {"content-type": kind, "content-encoding": "gzip"}
        answer = await root.call("POST", path, content=b"\x1f\x8b", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-media-type"), path
        assert answer.headers["accept-encoding"] == "identity"
    plain = await root.call("POST", "/memories", json={"content": "x"}, headers={"content-encoding": "Identity"})
    assert plain.status_code == 201


@pytest.mark.parametrize("name", [".", ".."])
async def test_a_namespace_has_a_name_that_a_path_can_hold(root: Caller, name: str) -> None:
    answer = await root.call("PUT", "/memories/k", json={"content": "x"}, headers={"memory-namespace": name})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-namespace")
    (fault,) = (await taken(root, {**line("memory"), "namespace": name}))["faults"]
    assert fault["pointer"] == "/namespace"


async def test_a_number_is_no_time(root: Caller) -> None:
    await root.call("PUT", "/memories/k", json={"content": "x"})
    answer = await root.call("GET", "/memories/k", params={"as_of": "1999999999"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-parameter"), answer.text


@pytest.mark.parametrize(
    ("path", "body"), [("/memories/k", {"content": "x"}), ("/sessions/s/state", {"data": {}}), ("/namespaces/n", {})]
)
async def test_a_version_of_what_is_not_there(root: Caller, path: str, body: dict[str, Any]) -> None:
    answer = await root.call("PUT", path, json=body, headers={"if-match": '"1"'})
    assert (answer.status_code, answer.json()["current_version"]) == (412, None), answer.text
    assert "None" not in answer.json()["detail"]


async def test_no_id_ends_with_a_line_end(root: Caller) -> None:
    """No path can hold one, so such a memory could be neither read nor deleted."""
    operations = [
        {"op": "put", "id": "tea\n", "memory": {"content": "x"}},
        {"op": "create", "memory": {"content": "x"}, "idempotency_key": "key\n"},
    ]
    answer = await root.call("POST", "/memories/batch", json={"operations": operations})
    faults = [one["problem"]["errors"][0]["pointer"] for one in answer.json()["results"]]
    assert faults == ["/id", "/idempotency_key"]
    answer = await root.call("POST", "/memories", json={"content": "x", "supersedes": ["tea\n"]})
    assert answer.json()["errors"][0]["pointer"] == "/supersedes/0"
