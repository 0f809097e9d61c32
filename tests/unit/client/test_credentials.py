"""A token is asked for once, and again before it ends."""

import json

import httpx

from ragrid.client import ClientCredentials, GridClient
from ragrid.system.clock import ManualClock


def test_a_token_is_kept_until_shortly_before_its_end() -> None:
    asked: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.content)
        return httpx.Response(200, json={"access_token": f"t{len(asked)}", "expires_in": 600})

    clock = ManualClock()
    with GridClient("http://127.0.0.1:1", transport=httpx.MockTransport(answer)) as client:
        fresh = ClientCredentials(client, "me", "secret", scope="rag:read", clock=clock)
        assert [fresh(), fresh()] == ["t1", "t1"]
        clock.advance(569)
        assert fresh() == "t1"
        clock.advance(2)
        assert fresh() == "t2"
    assert asked == [b"grant_type=client_credentials&scope=rag%3Aread"] * 2


def test_a_function_is_asked_before_each_request() -> None:
    tokens = iter(["one", "two"])
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        return httpx.Response(200, content=json.dumps({"answer": "yes"}))

    with GridClient("http://127.0.0.1:1", token=lambda: next(tokens), transport=httpx.MockTransport(answer)) as client:
        client.ask("?")
        client.ask("?")
    assert seen == ["Bearer one", "Bearer two"]
