"""To JSON Schema, 5.0 is an integer: where the description says integer, the service takes it."""

import re
from typing import Any

import httpx
import pytest

from support.memory_calls import Caller
from support.token_mint import TokenMint


@pytest.fixture
def root(client: httpx.AsyncClient, mint: TokenMint) -> Caller:
    return Caller(client, mint.token(sub="root", tenant="acme", scope="memory:read memory:write memory:admin"))


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/tea", '{"content":"x","ttl_seconds":NUMBER}'),
        ("PATCH", "/tea", '{"ttl_seconds":NUMBER}'),
        ("POST", "/tea/restore", '{"version":NUMBER}'),
        ("POST", "/search", '{"query":"x","k":NUMBER}'),
        ("POST", "/../sessions/s/messages", '{"messages":[{"role":"user","content":"x"}],"ttl_seconds":NUMBER}'),
        ("PUT", "/../namespaces/demo", '{"default_ttl_seconds":NUMBER}'),
    ],
)
async def test_a_whole_number_may_be_written_with_a_fraction(root: Caller, method: str, path: str, body: str) -> None:
    await root.call("PUT", "/tea", json={"content": "x"})

    async def send(number: str) -> httpx.Response:
        return await root.call(method, path, content=body.replace("NUMBER", number).encode())

    for number in ("1.0", "1e0"):
        answer = await send(number)
        assert answer.status_code in (200, 201), answer.text
    refused = await send("1.5")
    assert refused.status_code == 422
    assert [one["pointer"] for one in refused.json()["errors"]] == ["/" + re.findall(r'"(\w+)":NUMBER', body)[0]]


async def test_operations_of_a_batch_and_lines_of_an_import_take_them_too(root: Caller) -> None:
    await root.call("PUT", "/tea", json={"content": "x"})
    batch = b'{"operations":[{"op":"delete","id":"tea","if_match":[1.0]},{"op":"delete","id":"tea","if_match":1.5}]}'
    results = (await root.call("POST", "/batch", content=batch)).json()["results"]
    assert [one["status"] for one in results] == [204, 422]
    assert results[1]["problem"]["errors"][0]["pointer"] == "/if_match"
    line = (await root.call("GET", "/../export")).text.splitlines()[1].replace('"version":1,', '"version":1.0,')
    headers = {"content-type": "application/x-ndjson", "memory-namespace": "copy"}
    answer = await root.call("POST", "/../import", content=line.encode() + b"\n", headers=headers)
    assert (answer.json()["imported"], answer.json()["faults"]) == (1, [])


async def test_what_callers_bring_of_their_own_stays_as_it_was_written(root: Caller) -> None:
    sent = b'{"content":"x","ttl_seconds":60.0,"data":{"a":5.0,"b":5},"metadata":{"c":1e2}}'
    made = await root.call("PUT", "/tea", content=sent)
    assert '"data":{"a":5.0,"b":5}' in made.text
    assert '"metadata":{"c":100.0}' in made.text


@pytest.mark.parametrize("member", ["tags", "supersedes"])
async def test_what_must_be_there_once_is_described_so(root: Caller, member: str) -> None:
    answer = await root.call("POST", json={"content": "x", member: ["a", "a"]})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, f"/{member}")
    schemas: Any = (await root.call("GET", "/../openapi.json")).json()["components"]["schemas"]
    assert schemas["MemoryInput"]["properties"][member]["uniqueItems"] is True
