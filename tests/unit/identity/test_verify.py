import base64
import hashlib
import hmac
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragrid.identity.keys import FixedKeys, parse_jwks
from ragrid.identity.strict import encode_base64url
from ragrid.identity.verify import (
    TOKEN_LIMIT_CHARACTERS,
    VERDICT_CEILING_S,
    VERDICT_LIMIT,
    ExpiredTokenError,
    InvalidTokenError,
    TokenVerifier,
)
from ragrid.spec.settings import TokenTrust
from support.token_mint import ISSUER, TokenMint

MINT = TokenMint()
VERIFIER = MINT.verifier()
NOW_S = int(MINT.clock.now_s())


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "Ed25519"])
def test_a_good_token_says_who_calls(algorithm: str) -> None:
    mint = TokenMint(algorithm)
    claims = mint.verifier().verify(mint.token())
    assert (claims.issuer, claims.subject, claims.client_id, claims.tenant) == (ISSUER, "ada", "ada", "default_tenant")
    assert (claims.audience, claims.roles, claims.token_id) == (("memory", "rag"), ("writer",), "id-1")
    assert claims.permissions == {"memory:read", "memory:write"}
    assert (claims.issued_at_s, claims.expires_at_s) == (NOW_S, NOW_S + 600)


GOOD: dict[str, dict[str, Any]] = {
    "audience as a string": {"aud": "memory"},
    "no scope": {"scope": ...},
    "no roles": {"roles": ...},
    "expiry as a float": {"exp": NOW_S + 0.5},
    "not before just now": {"nbf": NOW_S + 4},
    "issued by a fast clock": {"iat": NOW_S + 50},
    "expired within the leeway": {"exp": NOW_S - 4},
    "a claim nobody knows": {"colour": "blue"},
}


@pytest.mark.parametrize("changes", GOOD.values(), ids=GOOD.keys())
def test_what_is_allowed(changes: dict[str, Any]) -> None:
    assert VERIFIER.verify(MINT.token(**changes)).subject == "ada"


BAD_CLAIMS: dict[str, dict[str, Any]] = {
    "issuer of another grid": {"iss": "https://other.test"},
    "issuer with a slash more": {"iss": ISSUER + "/"},
    "issuer as a list": {"iss": [ISSUER]},
    "issuer as an object": {"iss": {ISSUER: 1}},
    "issuer missing": {"iss": ...},
    "issuer null": {"iss": None},
    "audience of another service": {"aud": ["rag"]},
    "audience is a part of the name": {"aud": "memory2"},
    "audience contains the name": {"aud": "xmemoryx"},
    "audience empty": {"aud": []},
    "audience missing": {"aud": ...},
    "audience null": {"aud": None},
    "audience a number": {"aud": 1},
    "audience an object": {"aud": {"memory": True}},
    "audience a nested list": {"aud": [["memory"]]},
    "audience a mixed list": {"aud": ["memory", 1]},
    "expiry a string": {"exp": str(NOW_S + 600)},
    "expiry true": {"exp": True},
    "expiry null": {"exp": None},
    "expiry missing": {"exp": ...},
    "expiry a list": {"exp": [NOW_S + 600]},
    "expiry beyond every number": {"exp": 10**400},
    "expiry below every number": {"exp": -(10**400)},
    "issued at a string": {"iat": "now"},
    "issued at true": {"iat": True},
    "issued at missing": {"iat": ...},
    "issued in the future": {"iat": NOW_S + 61},
    "not before a string": {"nbf": "0"},
    "not before true": {"nbf": True},
    "not before null": {"nbf": None},
    "not before the future": {"nbf": NOW_S + 6},
    "subject missing": {"sub": ...},
    "subject empty": {"sub": ""},
    "subject a list": {"sub": ["ada"]},
    "subject a number": {"sub": 7},
    "subject with a line break": {"sub": "ada\r\nX-Admin: 1"},
    "subject with a NUL": {"sub": "ada\0"},
    "subject with half a surrogate": {"sub": "\ud800"},
    "subject too long": {"sub": "a" * 513},
    "client missing": {"client_id": ...},
    "client a bool": {"client_id": True},
    "tenant missing": {"tenant": ...},
    "tenant a list": {"tenant": ["a", "b"]},
    "tenant empty": {"tenant": ""},
    "id missing": {"jti": ...},
    "id a number": {"jti": 1},
    "scope a list": {"scope": ["memory:read"]},
    "scope null": {"scope": None},
    "roles a string": {"roles": "admin"},
    "roles null": {"roles": None},
    "roles a mixed list": {"roles": ["admin", 1]},
}


@pytest.mark.parametrize("changes", BAD_CLAIMS.values(), ids=BAD_CLAIMS.keys())
def test_rightly_signed_and_still_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidTokenError):
        VERIFIER.verify(MINT.token(**changes))


BAD_HEADERS: dict[str, dict[str, Any]] = {
    "algorithm none": {"alg": "none"},
    "algorithm None": {"alg": "None"},
    "algorithm empty": {"alg": ""},
    "algorithm missing": {"alg": ...},
    "algorithm a list": {"alg": ["ES256"]},
    "algorithm HS256": {"alg": "HS256"},
    "algorithm of another key": {"alg": "RS256"},
    "algorithm in lower case": {"alg": "es256"},
    "algorithm ES256K": {"alg": "ES256K"},
    "type JWT": {"typ": "JWT"},
    "type missing": {"typ": ...},
    "type of an id token": {"typ": "id+jwt"},
    "type a list": {"typ": ["at+jwt"]},
    "key missing": {"kid": ...},
    "key unknown": {"kid": "nobody"},
    "key a path": {"kid": "../../etc/passwd"},
    "key a list": {"kid": [MINT.kid]},
    "key null": {"kid": None},
    "critical unknown": {"crit": ["x"], "x": 1},
    "critical known": {"crit": ["exp"], "exp": NOW_S},
    "critical empty": {"crit": []},
    "payload not encoded": {"b64": False, "crit": ["b64"]},
    "key embedded": {"jwk": MINT.public},
    "key elsewhere": {"jku": "https://evil.test/jwks.json"},
    "certificate elsewhere": {"x5u": "https://evil.test/cert"},
    "certificate embedded": {"x5c": ["MIIB"]},
    "nested": {"cty": "JWT"},
    "compressed": {"zip": "DEF"},
}


@pytest.mark.parametrize("changes", BAD_HEADERS.values(), ids=BAD_HEADERS.keys())
def test_a_header_that_is_refused_under_a_right_signature(changes: dict[str, Any]) -> None:
    token = MINT.raw(json.dumps(MINT.header(**changes)), json.dumps(MINT.claims()))
    with pytest.raises(InvalidTokenError):
        VERIFIER.verify(token)


def _hs256_with(secret: bytes) -> str:
    header, payload = json.dumps(MINT.header(alg="HS256")), json.dumps(MINT.claims())
    signing_input = f"{encode_base64url(header.encode())}.{encode_base64url(payload.encode())}"
    return f"{signing_input}.{encode_base64url(hmac.digest(secret, signing_input.encode(), hashlib.sha256))}"


def _respelled(token: str) -> str:
    """The same signature bytes with other spare bits in the last character."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]


NONE_HEADER = encode_base64url(json.dumps(MINT.header(alg="none")).encode())
OTHER_PAYLOAD = encode_base64url(json.dumps(MINT.claims(sub="root")).encode())
HEADER, PAYLOAD, SIGNATURE = MINT.token().split(".")
CLAIMS = json.dumps(MINT.claims())
TWICE = CLAIMS[:-1] + ', "sub": "root"}'

BAD_TOKENS = {
    "empty": "",
    "one word": "x",
    "two parts": f"{HEADER}.{PAYLOAD}",
    "four parts": f"{HEADER}.{PAYLOAD}.{SIGNATURE}.x",
    "dot at the end": f"{HEADER}.{PAYLOAD}.{SIGNATURE}.",
    "dot in front": f".{HEADER}.{PAYLOAD}.{SIGNATURE}",
    "two dots": f"{HEADER}..{SIGNATURE}",
    "no signature": f"{HEADER}.{PAYLOAD}.",
    "none without a signature": f"{NONE_HEADER}.{PAYLOAD}.",
    "space in front": f" {HEADER}.{PAYLOAD}.{SIGNATURE}",
    "space behind": f"{HEADER}.{PAYLOAD}.{SIGNATURE} ",
    "line break behind": f"{HEADER}.{PAYLOAD}.{SIGNATURE}\n",
    "line break inside": f"{HEADER}.{PAYLOAD[:9]}\n{PAYLOAD[9:]}.{SIGNATURE}",
    "NUL behind": f"{HEADER}.{PAYLOAD}.{SIGNATURE}\0",
    "padded": f"{HEADER}.{PAYLOAD}.{SIGNATURE}==",
    "plain base64 alphabet": f"{HEADER}.{PAYLOAD}.+/{SIGNATURE[2:]}",
    "not ASCII": f"{HEADER}.{PAYLOAD}.{SIGNATURE[:-1]}é",
    "digits of another script": f"{HEADER}.{PAYLOAD}.{SIGNATURE[:-1]}٣",
    "quoted": f'"{HEADER}.{PAYLOAD}.{SIGNATURE}"',
    "scheme inside": f"Bearer {HEADER}.{PAYLOAD}.{SIGNATURE}",
    "too long": f"{HEADER}.{PAYLOAD}.{'A' * TOKEN_LIMIT_CHARACTERS}",
    "the spare bits of the signature": _respelled(MINT.token()),
    "signature of zeros": f"{HEADER}.{PAYLOAD}.{encode_base64url(bytes(64))}",
    "signature too short": f"{HEADER}.{PAYLOAD}.{encode_base64url(bytes(8))}",
    "signature in DER": f"{HEADER}.{PAYLOAD}.{encode_base64url(base64.b64decode('MAYCAQECAQE='))}",
    "signature of other claims": f"{HEADER}.{OTHER_PAYLOAD}.{SIGNATURE}",
    "signature of another key": TokenMint().token(),
    "another key under our name": TokenMint().raw(json.dumps(MINT.header()), CLAIMS),
    "HS256 with the public key's JSON": _hs256_with(json.dumps(MINT.public).encode()),
    "HS256 with the public key's PEM": _hs256_with(MINT.public_pem),
    "HS256 with nothing": _hs256_with(b""),
    "header not JSON": MINT.raw("{", CLAIMS),
    "header a list": MINT.raw("[]", CLAIMS),
    "header empty": MINT.raw("{}", CLAIMS),
    "header with a member twice": MINT.raw(json.dumps(MINT.header())[:-1] + ', "alg": "none"}', CLAIMS),
    "header nested without end": MINT.raw("[" * 5000, "{}"),
    "header in UTF-16": MINT.raw(json.dumps(MINT.header()).encode("utf-16"), CLAIMS),
    "header not UTF-8": MINT.raw(b'{"alg":"\xff"}', CLAIMS),
    "header with a byte order mark": MINT.raw(b"\xef\xbb\xbf" + json.dumps(MINT.header()).encode(), CLAIMS),
    "payload a list": MINT.raw(json.dumps(MINT.header()), "[]"),
    "payload a string": MINT.raw(json.dumps(MINT.header()), '"ada"'),
    "payload empty object": MINT.raw(json.dumps(MINT.header()), "{}"),
    "payload with a member twice": MINT.raw(json.dumps(MINT.header()), TWICE),
    "payload with an escaped member twice": MINT.raw(
        json.dumps(MINT.header()), TWICE.replace('"sub": "root"', '"s\\u0075b": "root"')
    ),
    "payload with NaN": MINT.raw(json.dumps(MINT.header()), json.dumps(MINT.claims(exp=float("nan")))),
    "payload with Infinity": MINT.raw(json.dumps(MINT.header()), json.dumps(MINT.claims(exp=float("inf")))),
    "payload with an infinite literal": MINT.raw(json.dumps(MINT.header()), CLAIMS.replace(str(NOW_S + 600), "1e999")),
    "payload with 5,000 digits": MINT.raw(json.dumps(MINT.header()), CLAIMS.replace(str(NOW_S + 600), "9" * 5000)),
    "payload nested without end": MINT.raw(json.dumps(MINT.header()), "[" * 5000),
    "payload not UTF-8": MINT.raw(json.dumps(MINT.header()), b'{"sub":"\xff"}'),
    "payload not JSON": MINT.raw(json.dumps(MINT.header()), "ada"),
}


@pytest.mark.parametrize("token", BAD_TOKENS.values(), ids=BAD_TOKENS.keys())
def test_a_crafted_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidTokenError):
        VERIFIER.verify(token)


def test_no_flipped_bit_goes_through() -> None:
    token = MINT.token()
    chance = random.Random(1)
    for _ in range(400):
        position = chance.randrange(len(token))
        flipped = token[:position] + chr(ord(token[position]) ^ (1 << chance.randrange(8))) + token[position + 1 :]
        with pytest.raises(InvalidTokenError):
            VERIFIER.verify(flipped)


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=300))
def test_text_of_any_kind_is_refused_in_one_way(text: str) -> None:
    with pytest.raises(InvalidTokenError):
        VERIFIER.verify(text)


@settings(max_examples=40, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda part: st.lists(part) | st.dictionaries(st.text(), part),
    )
)
def test_a_signed_claim_of_any_type_never_raises_anything_else(value: Any) -> None:
    for claim in ("exp", "iss", "aud", "scope", "nbf"):
        try:
            VERIFIER.verify(MINT.token(**{claim: value}))
        except InvalidTokenError:
            continue


def test_time_ends_a_token_also_out_of_the_cache() -> None:
    mint = TokenMint()
    verifier, token = mint.verifier(), mint.token(exp=NOW_S + 10)
    verifier.verify(token)
    mint.clock.advance(14.9)
    verifier.verify(token)
    mint.clock.advance(0.1)
    with pytest.raises(ExpiredTokenError):
        verifier.verify(token)


def test_setting_the_clock_ends_a_token_that_is_cached() -> None:
    mint = TokenMint()
    verifier, token = mint.verifier(), mint.token()
    verifier.verify(token)
    mint.clock.step_wall(3600)
    with pytest.raises(ExpiredTokenError):
        verifier.verify(token)


class CountingKeys(FixedKeys):
    """Counts the searches, each of which is followed by a signature check."""

    searches = 0

    def find(self, kid: str) -> Any:
        self.searches += 1
        return super().find(kid)


def _counting(mint: TokenMint) -> tuple[TokenVerifier, CountingKeys]:
    keys = CountingKeys(parse_jwks(mint.jwks))
    trust = TokenTrust(issuer=ISSUER, audience="memory", jwks_file=Path("unused"))
    return TokenVerifier(trust, keys, mint.clock), keys


def test_a_signature_is_checked_once_within_the_ceiling() -> None:
    mint = TokenMint()
    verifier, keys = _counting(mint)
    token = mint.token()
    for _ in range(5):
        verifier.verify(token)
    assert keys.searches == 1
    mint.clock.advance(VERDICT_CEILING_S)
    verifier.verify(token)
    assert keys.searches == 2


def test_a_withdrawn_key_ends_its_tokens_at_once() -> None:
    mint = TokenMint()
    verifier, keys = _counting(mint)
    token = mint.token()
    verifier.verify(token)
    keys.replace(parse_jwks(TokenMint().jwks))
    with pytest.raises(InvalidTokenError):
        verifier.verify(token)


def test_the_cache_is_bounded_and_refusals_are_not_kept() -> None:
    mint = TokenMint()
    verifier, _ = _counting(mint)
    for text in ("x.y.z", "a.b.c"):
        with pytest.raises(InvalidTokenError):
            verifier.verify(text)
    assert len(verifier._verdicts) == 0
    good = verifier._judge(mint.token())
    verifier._verdicts = {str(n): good for n in range(VERDICT_LIMIT)}
    verifier.verify(mint.token())
    assert len(verifier._verdicts) == VERDICT_LIMIT
    assert "0" not in verifier._verdicts
