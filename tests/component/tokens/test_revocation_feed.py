"""What the gateway's controllers are told of revocations, and when a replica says nothing rather than too little."""

import json
from collections.abc import Awaitable, Callable

import pytest
from starlette.requests import Request
from starlette.responses import Response

from ragrid.errors import UnreachableError
from ragrid.services.tokens.desk import Desk as Hands
from ragrid.services.tokens.devices import Devices
from ragrid.services.tokens.exchange import Exchange
from ragrid.services.tokens.oauth import FOLLOWED_WITHIN_S, OAuthEndpoints
from support.token_desk import Desk

PATH = "/revocations"


@pytest.fixture
def revocations(desk: Desk) -> Callable[[Request], Awaitable[Response]]:
    sign_ins = desk.sign_ins()
    endpoints = OAuthEndpoints(
        desk.settings(),
        Hands(),
        issuer=desk.issuer,
        sign_ins=sign_ins,
        devices=Devices(desk.settings(), desk.store, sign_ins, desk.clock),
        exchange=Exchange(desk.settings(), desk.store, desk.issuer, desk.clock),
    )
    (found,) = [route.endpoint for route in endpoints.routes() if route.path == PATH]
    return found


def request() -> Request:
    return Request({"type": "http", "method": "GET", "path": PATH, "query_string": b"after=older", "headers": []})


async def test_a_replica_that_lost_the_store_tells_nothing(
    desk: Desk, revocations: Callable[[Request], Awaitable[Response]]
) -> None:
    desk.issuer.clientele.revoke("one", 9e9, client_id="ada", by="root")
    told = json.loads(bytes((await revocations(request())).body))
    assert told["revoked"] == [{"jti": "one", "exp": 9e9}]
    desk.clock.advance(FOLLOWED_WITHIN_S + 1)  # nobody could look meanwhile
    with pytest.raises(UnreachableError, match="store"):
        await revocations(request())
    desk.issuer.tend()
    assert json.loads(bytes((await revocations(request())).body)) == told
