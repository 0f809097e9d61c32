from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragrid.identity.keys import FixedKeys, parse_jwks
from ragrid.identity.verify import (
    VERDICT_CEILING_S,
    VERDICT_LIMIT,
    ExpiredTokenError,
    InvalidTokenError,
    TokenVerifier,
)
from ragrid.spec.settings import TokenTrust
from support.crafted_tokens import crafted_tokens, flipped_tokens, good_tokens
from support.keys import rsa_key
from support.token_mint import ISSUER, TokenMint

MINT = TokenMint()
VERIFIER = MINT.verifier()
CRAFTED = crafted_tokens(MINT)
NOW_S = int(MINT.clock.now_s())


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "Ed25519"])
def test_a_good_token_says_who_calls(algorithm: str) -> None:
    mint = TokenMint(algorithm, given=rsa_key() if algorithm == "RS256" else None)
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


@pytest.mark.parametrize("token", good_tokens(MINT).values(), ids=good_tokens(MINT).keys())
def test_an_unusual_token_is_taken(token: str) -> None:
    assert VERIFIER.verify(token).subject == "ada"


@pytest.mark.parametrize("token", CRAFTED.values(), ids=CRAFTED.keys())
def test_a_crafted_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidTokenError):
        VERIFIER.verify(token)


def test_no_flipped_bit_goes_through() -> None:
    for flipped in islice(flipped_tokens(MINT.token()), 0, None, 7):  # all of them: tests/component/web
        with pytest.raises(InvalidTokenError):
            VERIFIER.verify(flipped)


@given(st.text(max_size=300))
def test_text_of_any_kind_is_refused_in_one_way(text: str) -> None:
    with pytest.raises(InvalidTokenError):
        VERIFIER.verify(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=20),
        lambda part: st.lists(part, max_size=4) | st.dictionaries(st.text(max_size=8), part, max_size=4),
        max_leaves=8,
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
