"""Clients that prove themselves with a key: what is taken once, and what never."""

import json
from typing import Any

import pytest
from joserfc import jwk

from ragrid.services.tokens.assertion import ASSERTION_TYPE, jwks_fault
from ragrid.services.tokens.grants import OAuthError, credentials_of, parse_pairs
from support.token_desk import ISSUER, PLAIN, Desk
from support.token_mint import TokenMint


@pytest.fixture
def mint(desk: Desk) -> TokenMint:
    """The key of the client bot."""
    mint = TokenMint(clock=desk.clock)
    desk.issuer.clientele.create("bot", tenant="t", roles=("reader",), by="root", jwks=mint.jwks.decode())
    return mint


def assertion(mint: TokenMint, header: dict[str, Any] | None = None, **changes: Any) -> str:
    now_s = int(mint.clock.now_s())
    claims = {"iss": "bot", "sub": "bot", "aud": ISSUER, "exp": now_s + 60, "jti": "id-1", **changes}
    kept = {name: value for name, value in claims.items() if value is not ...}
    return mint.raw(json.dumps(mint.header(**{"typ": "JWT", **(header or {})})), json.dumps(kept))


def attempt(desk: Desk, text: str, **changes: str) -> str:
    form = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": text, **changes}
    query = "&".join(f"{name}={value}" for name, value in form.items())
    return desk.issuer.identify(credentials_of(parse_pairs(query.encode()), None)).client_id


@pytest.mark.parametrize("typ", ["JWT", "client-authentication+jwt", ...])
def test_a_key_proves_a_client_once(desk: Desk, mint: TokenMint, typ: Any) -> None:
    text = assertion(mint, {"typ": typ}, aud=[ISSUER])
    assert attempt(desk, text) == "bot"
    desk.start()
    with pytest.raises(OAuthError) as caught:
        attempt(desk, text)
    assert (caught.value.status, caught.value.code) == (401, "invalid_client")
    fresh = assertion(mint, jti="id-2")
    assert attempt(desk, fresh, client_id="bot") == "bot"
    known = desk.store.client("bot")
    assert known is not None
    assert desk.issuer.issue(PLAIN, known).scope


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "ada"}, {"sub": "ada"}, {"iss": ...}, {"aud": "https://other.test"},
        {"aud": [ISSUER, "https://other.test"]},
        {"aud": f"{ISSUER}/oauth2/token"}, {"aud": ...}, {"aud": {"x": ISSUER}}, {"exp": 1}, {"exp": 1_800_003_600},
        {"exp": ...}, {"exp": "1800000060"}, {"exp": True}, {"jti": ...}, {"jti": ""}, {"jti": 7}, {"jti": "j" * 500},
        {"nbf": 1_800_000_000 + 100},
    ],
)  # fmt: skip
def test_an_assertion_for_somebody_or_something_else_proves_nothing(
    desk: Desk, mint: TokenMint, changes: dict[str, Any]
) -> None:
    with pytest.raises(OAuthError):
        attempt(desk, assertion(mint, **changes))


@pytest.mark.parametrize("typ", ["at+jwt", "application/at+jwt", 7, "x"])
def test_an_access_token_is_no_assertion(desk: Desk, mint: TokenMint, typ: object) -> None:
    with pytest.raises(OAuthError):
        attempt(desk, assertion(mint, {"typ": typ}))


def test_another_key_no_key_and_damage_prove_nothing(desk: Desk, mint: TokenMint) -> None:
    other = TokenMint(clock=desk.clock)
    good = assertion(mint)
    stolen = assertion(other, {"kid": mint.kid})
    for text in (assertion(other), stolen, good[:-4] + "AAAA", "", "a.b.c", good.rsplit(".", 1)[0] + "."):
        with pytest.raises(OAuthError):
            attempt(desk, text)
    of_ada = mint.raw(json.dumps(mint.header(typ="JWT")), json.dumps({"iss": "ada", "sub": "ada", "aud": ISSUER}))
    with pytest.raises(OAuthError):
        attempt(desk, of_ada)
    with pytest.raises(OAuthError):
        attempt(desk, good, client_assertion_type="other")
    with pytest.raises(OAuthError):
        attempt(desk, good, client_id="ada")
    with pytest.raises(OAuthError, match="two ways"):
        attempt(desk, good, client_secret="x")
    assert attempt(desk, good) == "bot", "what was refused before its id was kept used nothing up"


def test_a_client_with_a_key_has_no_secret(desk: Desk, mint: TokenMint) -> None:
    assert desk.store.rows("SELECT secret_hash FROM clients WHERE client_id = 'bot'") == [(b"",)]


def test_used_assertions_are_forgotten_once_they_are_over(desk: Desk, mint: TokenMint) -> None:
    attempt(desk, assertion(mint))
    desk.clock.advance(61)
    desk.sign_ins().tend()
    assert desk.store.rows("SELECT count(*) FROM assertions") == [(1,)], "the leeway is not over"
    desk.clock.advance(10)
    desk.sign_ins().tend()
    assert desk.store.rows("SELECT count(*) FROM assertions") == [(0,)]


def test_private_keys_are_refused() -> None:
    private = jwk.ECKey.generate_key("P-256").as_dict(private=True)
    assert "must never leave" in str(jwks_fault({"keys": [private]}))
    assert jwks_fault({"keys": []})
    assert jwks_fault({"keys": [{"kty": "oct", "k": "AAAA", "kid": "x"}]})
    assert jwks_fault(json.loads(TokenMint().jwks)) is None
