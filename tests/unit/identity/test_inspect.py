import pytest

from ragrid.identity.inspect import inspect_token
from ragrid.identity.keys import parse_jwks
from support.token_mint import ISSUER, TokenMint

MINT = TokenMint()
KEYS = parse_jwks(MINT.jwks)


def test_a_good_token_has_no_fault() -> None:
    found = inspect_token(MINT.token(aud="rag"), KEYS, issuer=ISSUER, clock=MINT.clock)
    assert found.fault is None
    assert (found.header["alg"], found.claims["sub"], found.claims["aud"]) == ("ES256", "ada", "rag")


@pytest.mark.parametrize(
    ("token", "said"),
    [
        (MINT.token(exp=1), "expired"),
        (MINT.token(iss="https://other"), "'iss'"),
        (MINT.token(aud=[]), "'aud'"),
        (MINT.token(aud=7), "'aud'"),
        (MINT.token(sub=...), "'sub'"),
        (TokenMint().token(), "not published"),
        (MINT.token()[:-4] + "AAAA", "signature"),
    ],
)
def test_a_bad_token_is_shown_with_the_reason(token: str, said: str) -> None:
    found = inspect_token(token, KEYS, issuer=ISSUER, clock=MINT.clock)
    assert found.fault is not None
    assert said in found.fault
    assert found.claims["jti"] == "id-1"


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "....", "é.é.é", "x" * 9000])
def test_what_is_no_token_is_told_so(token: str) -> None:
    found = inspect_token(token, KEYS, issuer=ISSUER, clock=MINT.clock)
    assert (found.header, found.claims) == ({}, {})
    assert found.fault
