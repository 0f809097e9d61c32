"""A service acts for its caller, and gains nothing by it."""

import json

import pytest

from ragrid.identity.strict import decode_base64url
from ragrid.services.tokens.exchange import ACCESS_TOKEN, CHAIN_LIMIT, Exchange
from ragrid.services.tokens.grants import Form, OAuthError
from ragrid.services.tokens.issuer import IssuedToken
from ragrid.services.tokens.store import Kind
from support.token_desk import Desk


@pytest.fixture
def exchange(desk: Desk) -> Exchange:
    return Exchange(desk.settings(), desk.store, desk.issuer, desk.clock)


def swap(exchange: Exchange, desk: Desk, token: str, client: str = "memory", **more: str) -> IssuedToken:
    form = {"subject_token": token, "subject_token_type": ACCESS_TOKEN, **more}
    return exchange.swap(Form({name: (value,) for name, value in form.items()}), desk.client(client))


def claims(token: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(decode_base64url(token.split(".")[1]))
    return found


def test_the_token_speaks_for_the_caller_and_names_the_service(desk: Desk, exchange: Exchange) -> None:
    desk.clock.advance(0.5)
    first = desk.token("ada")
    desk.clock.advance(100)
    issued = swap(exchange, desk, first.access_token, scope="memory:read", audience="memory")
    said = claims(issued.access_token)
    assert (said["sub"], said["client_id"], said["act"]) == ("ada", "memory", {"sub": "memory"})
    assert (said["scope"], said["aud"], said["roles"], issued.issued_token_type) == (
        "memory:read", ["memory"], ["reader"], ACCESS_TOKEN,
    )  # fmt: skip
    assert said["exp"] <= claims(first.access_token)["exp"], "no longer than the caller's"  # type: ignore[operator]  # numbers
    assert desk.verifier(desk.issuer.keyring.jwks).verify(issued.access_token).subject == "ada"
    line = desk.lines()[-1]
    assert (line.event, line.client_id, line.subject) == ("token-issued", "memory", "ada")


def test_nothing_is_gained(desk: Desk, exchange: Exchange) -> None:
    narrow = desk.issuer.issue(
        Form({"grant_type": ("client_credentials",), "scope": ("memory:read",), "audience": ("memory",)}),
        desk.client("ada"),
    ).access_token
    assert claims(swap(exchange, desk, narrow).access_token)["aud"] == ["memory"]
    for more in ({"scope": "memory:write"}, {"scope": "memory:read chromadb:read"}, {"audience": "chromadb"}):
        with pytest.raises(OAuthError) as caught:
            swap(exchange, desk, narrow, **more)
        assert caught.value.code in ("invalid_scope", "invalid_target")


@pytest.mark.parametrize("client", ["ada", "root"])
def test_only_services_act_for_others(desk: Desk, exchange: Exchange, client: str) -> None:
    with pytest.raises(OAuthError) as caught:
        swap(exchange, desk, desk.token("ada").access_token, client)
    assert caught.value.code == "unauthorized_client"


def test_a_bad_token_is_not_swapped(desk: Desk, exchange: Exchange) -> None:
    token = desk.token("ada").access_token
    desk.issuer.revoke(token, desk.client("ada"))
    old = desk.token("ada").access_token
    desk.clock.advance(601)
    for bad in (token, old, "x", desk.token("ada").access_token[:-4] + "AAAA"):
        with pytest.raises(OAuthError) as caught:
            swap(exchange, desk, bad)
        assert caught.value.code == "invalid_grant"
    for more in ({"actor_token": "x"}, {"subject_token_type": "urn:x"}, {"requested_token_type": "urn:x"}):
        with pytest.raises(OAuthError) as caught:
            swap(exchange, desk, desk.token("ada").access_token, **more)
        assert caught.value.code == "invalid_request"


def test_who_acts_for_whom_is_a_chain_that_ends(desk: Desk, exchange: Exchange) -> None:
    token = desk.token("ada").access_token
    for _ in range(CHAIN_LIMIT):
        token = swap(exchange, desk, token).access_token
    act = claims(token)["act"]
    for _ in range(CHAIN_LIMIT - 1):
        assert isinstance(act, dict)
        act = act["act"]
    assert act == {"sub": "memory"}
    with pytest.raises(OAuthError, match="services act for one another"):
        swap(exchange, desk, token)


@pytest.mark.parametrize("kind", ["subject", "client"])
def test_what_ends_the_caller_ends_it(desk: Desk, exchange: Exchange, kind: Kind) -> None:
    issued = swap(exchange, desk, desk.token("ada").access_token)
    desk.issuer.clientele.revoke_all(kind, "ada", by="root")
    assert desk.issuer.introspect(issued.access_token, desk.client("root")) == {"active": False}
