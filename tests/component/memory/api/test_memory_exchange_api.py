"""Export and import as a caller sees them."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from ragrid.services.memory.api.exchange import ATOMIC_LINES, CHUNK_LINES, FAULTS_SHOWN, IMPORT_BYTES
from ragrid.services.memory.inmemory.store import InMemoryStore
from ragrid.services.memory.service import build_memory_application
from support.memory_calls import Caller
from support.token_mint import TokenMint


def at_base(client: httpx.AsyncClient, token: str) -> Caller:
    one = Caller(client, token)
    one.base = "/memory/v1"
    return one


@pytest.fixture
def root(client: httpx.AsyncClient, mint: TokenMint) -> Caller:
    return at_base(client, mint.token(sub="root", tenant="acme", scope="memory:read memory:write memory:admin"))


@pytest.fixture
async def fresh(mint: TokenMint) -> AsyncIterator[Caller]:
    """The administrator of an empty store."""
    application = build_memory_application(InMemoryStore(), mint.verifier(), mint.clock, prefix="/memory")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://memory") as client:
        yield at_base(client, mint.token(sub="root", tenant="acme", scope="memory:read memory:write memory:admin"))


async def take(root: Caller, content: bytes, **params: str) -> httpx.Response:
    return await root.call(
        "POST", "/import", content=content, params=params, headers={"content-type": "application/x-ndjson"}
    )


async def exported(root: Caller, **params: str) -> bytes:
    answer = await root.call("GET", "/export", params=params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["x-accel-buffering"] == "no"
    return answer.content


async def test_an_export_leads_into_an_empty_store_and_out_again(alice: Caller, root: Caller, fresh: Caller) -> None:
    made = await alice.create(content="tea ☕", ttl_seconds=100)
    await alice.call("PATCH", f"/{made['id']}", json={"content": "coffee"})
    await root.call("POST", "/sessions/s/messages", json={"messages": [{"role": "user", "content": "hi"}]})
    await root.call("PUT", "/sessions/s/state", json={"data": {"step": 1}})
    text = await exported(root, namespaces="all")
    kinds = [msgspec.json.decode(line)["kind"] for line in text.splitlines()]
    assert kinds == ["header", "memory", "memory", "message", "state", "end"]
    answer = await take(fresh, text)
    assert answer.json() == {
        "lines": 4, "imported": 4, "unchanged": 0, "faulty": 0, "is_complete": True, "faults": [],
    }  # fmt: skip
    assert await exported(fresh, namespaces="all") == text
    again = (await take(fresh, text)).json()
    assert (again["imported"], again["unchanged"]) == (0, 4)
    read = await fresh.call("GET", f"/memories/{made['id']}")
    assert (read.json()["created_by"], read.json()["content"], read.headers["etag"]) == ("alice", "coffee", '"2"')


async def test_an_empty_store_is_exported_as_that(root: Caller) -> None:
    assert await exported(root) == (
        b'{"kind":"header","format":"ragrid-memory","format_version":2}\n{"kind":"end","lines":0}\n'
    )


async def test_an_import_names_its_faults_by_line_and_takes_the_rest(
    alice: Caller, root: Caller, fresh: Caller
) -> None:
    for number in range(3):
        await alice.call("PUT", f"/m{number}", json={"content": f"fact {number}"})
    header, *lines, _ = (await exported(root)).splitlines(keepends=True)
    wrong = lines[1].replace(b'"importance":0.5', b'"importance":7')
    text = header + lines[0] + b"not json\n\n" + wrong + lines[2]
    body = (await take(fresh, text)).json()
    assert (body["lines"], body["imported"], body["faulty"], body["is_complete"]) == (4, 2, 2, False)
    assert [(one["line"], one["pointer"]) for one in body["faults"]] == [(3, ""), (5, "/memory/importance")]
    assert {one["id"] for one in (await fresh.call("GET", "/memories")).json()["memories"]} == {"m0", "m2"}


async def test_an_atomic_import_with_a_fault_writes_nothing(alice: Caller, root: Caller, fresh: Caller) -> None:
    await alice.call("PUT", "/m0", json={"content": "fact"})
    text = await exported(root)
    refused = await take(fresh, text + b"not json\n", atomic="true")
    assert (refused.status_code, refused.json()["code"], refused.json()["faulty"]) == (422, "import-refused", 1)
    assert refused.json()["errors"][0]["detail"].startswith("line 4: ")
    assert (await fresh.call("GET", "/memories")).json()["memories"] == []
    assert (await take(fresh, text, atomic="true")).json()["imported"] == 1


class SweptStore(InMemoryStore):
    """Between any two commits, whatever has expired is swept."""

    async def take(self, copies: Any, *, now_us: int, is_atomic: bool) -> Any:
        verdicts = await super().take(copies, now_us=now_us, is_atomic=is_atomic)
        await self.sweep(now_us=now_us, limit=1_000_000)
        return verdicts


async def test_a_sweep_in_the_middle_of_an_import_ends_nothing_that_goes_on(mint: TokenMint, alice: Caller) -> None:
    """Every memory had a time to live in its first version and none in its second; the former is over."""
    made = await alice.create()
    del made["id"], made["namespace"], made["version"], made["seq"], made["updated_at"], made["updated_by"]
    beside = {"kind": "memory", "namespace": "default", "at": "2026-01-01T00:00:00Z", "actor": "a"}
    old = {**made, "created_at": "2026-01-01T00:00:00Z", "expires_at": "2026-01-02T00:00:00Z"}
    lines = [{**beside, "op": "create", "id": "one", "version": 1, "memory": {**old, "expires_at": None}}]
    for number in range(3 * CHUNK_LINES):
        lines.append({**beside, "op": "create", "id": f"m{number}", "version": 1, "memory": old})
        lines.append(
            {**beside, "op": "update", "id": f"m{number}", "version": 2, "memory": {**old, "expires_at": None}}
        )
    application = build_memory_application(SweptStore(), mint.verifier(), mint.clock, prefix="/memory")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://memory") as client:
        root = at_base(client, mint.token(sub="root", tenant="acme", scope="memory:read memory:admin"))
        body = (await take(root, b"\n".join(msgspec.json.encode(line) for line in lines))).json()
    assert (body["imported"], body["faulty"]) == (len(lines), 0)


async def test_an_import_into_a_namespace_that_is_named(alice: Caller, root: Caller, fresh: Caller) -> None:
    await alice.call("PUT", "/m0", json={"content": "fact"})
    text = await exported(root)
    headers = {"content-type": "application/x-ndjson", "memory-namespace": "copy"}
    assert (await fresh.call("POST", "/import", content=text, headers=headers)).json()["imported"] == 1
    assert (await fresh.call("GET", "/memories/m0")).status_code == 404
    assert (await fresh.call("GET", "/memories/m0", headers={"memory-namespace": "copy"})).status_code == 200


async def test_faults_are_counted_all_and_shown_up_to_a_limit(fresh: Caller) -> None:
    body = (await take(fresh, b"x\n" * (FAULTS_SHOWN + 50))).json()
    assert (body["faulty"], len(body["faults"])) == (FAULTS_SHOWN + 50, FAULTS_SHOWN)


async def test_an_import_is_for_administrators_of_its_tenant(
    client: httpx.AsyncClient, mint: TokenMint, alice: Caller, root: Caller
) -> None:
    await alice.call("PUT", "/m0", json={"content": "fact"})
    text = await exported(root)
    writer = at_base(client, mint.token(sub="w", tenant="acme", scope="memory:read memory:write"))
    assert (await take(writer, text)).status_code == 403
    eve = at_base(client, mint.token(sub="eve", tenant="evil", scope="memory:read memory:admin"))
    assert len((await exported(eve, namespaces="all")).splitlines()) == 2
    assert (await take(eve, text)).json()["imported"] == 1
    assert (await exported(root)) == text


@pytest.mark.parametrize(
    ("params", "headers", "status", "code"),
    [
        ({"atomic": "maybe"}, {}, 400, "invalid-parameter"),
        ({"dry": "1"}, {}, 400, "unknown-parameter"),
        ({}, {"content-type": "application/json"}, 415, "unsupported-media-type"),
        ({}, {"content-length": str(IMPORT_BYTES + 1)}, 413, "body-too-large"),
        ({}, {"memory-namespace": "a b"}, 400, "invalid-namespace"),
    ],
)
async def test_what_cannot_be_an_import_is_refused(
    fresh: Caller, params: dict[str, str], headers: dict[str, str], status: int, code: str
) -> None:
    sent: Any = {"content-type": "application/x-ndjson", **headers}
    answer = await fresh.call("POST", "/import", content=b"{}", params=params, headers=sent)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_an_atomic_import_has_a_limit_of_lines(fresh: Caller) -> None:
    beside = {"kind": "memory", "op": "delete", "namespace": "n", "id": "k", "version": 1}
    line = msgspec.json.encode({**beside, "at": "2026-01-01T00:00:00Z", "actor": "a", "memory": None}) + b"\n"
    answer = await take(fresh, line * (ATOMIC_LINES + 1), atomic="true")
    assert (answer.status_code, answer.json()["limit_lines"]) == (413, ATOMIC_LINES)


async def test_an_export_of_something_else_than_all_is_refused(root: Caller) -> None:
    answer = await root.call("GET", "/export", params={"namespaces": "some"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-parameter")
