"""Every crafted token and every flipped bit at the real edge: 401 in one shape, never 500, never 200."""

import base64
import json
import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey

from ragrid.gateway.routes import POLICY
from ragrid.identity.keys import FixedKeys, parse_jwks
from ragrid.identity.verify import InvalidTokenError, TokenVerifier
from ragrid.spec.settings import TokenTrust
from ragrid.system.clock import ManualClock
from support.crafted_tokens import crafted_tokens, flipped_tokens, good_tokens
from support.mutated_tokens import mutated_tokens
from support.steady_client import Answer, answers_of, get_with
from support.token_mint import TokenMint

PATH = "/memory/v1/memories"
#: The end of a field, and blanks before it, are HTTP's own: what is left of these is a good token.
TAKEN_OFF = {"encoding: a line break behind", "encoding: a space behind"}


@pytest.fixture(scope="module")
def mint(module_edge: Any) -> TokenMint:
    """The edge's own issuer."""
    key = module_edge.signer.key
    assert isinstance(key, ECKey)
    clock = ManualClock(float(int(time.time())))
    mint = TokenMint(clock=clock, issuer=module_edge.config.issuer, audience=tuple(sorted(POLICY)), given=key)
    assert mint.kid == key.kid
    return mint


def is_for_http(token: str) -> bool:
    """Whether a field of a request may hold it (RFC 9110, section 5.5): no controls. Another may be a 400."""
    return not any((ord(sign) < 0x20 and sign != "\t") or ord(sign) == 0x7F for sign in token)


def assert_refused(answer: Answer, name: str) -> None:
    assert answer.status == 401, f"{name}: {answer.status}"
    assert answer.fields["content-type"] == "application/problem+json", name
    assert 'error="invalid_token"' in answer.fields["www-authenticate"], name
    problem = json.loads(answer.body)
    assert (problem["status"], problem["code"], problem["request_id"]) == (
        401,
        "invalid-token",
        answer.fields["x-request-id"],
    ), name


async def test_every_crafted_token_is_refused(module_edge: Any, mint: TokenMint) -> None:
    port, before = module_edge.config.http_port, len(module_edge.backend.seen())
    crafted = {name: token for name, token in crafted_tokens(mint).items() if name not in TAKEN_OFF}
    answers = await answers_of(port, [get_with(PATH, token) for token in crafted.values()])
    assert sum(map(is_for_http, crafted.values())) >= 80
    for (name, token), answer in zip(crafted.items(), answers, strict=True):
        if is_for_http(token):
            assert_refused(answer, name)
        else:
            assert answer.status in (400, 401), name
    assert len(module_edge.backend.seen()) == before


async def test_an_unusual_token_is_taken(module_edge: Any, mint: TokenMint) -> None:
    """Or the refusals would show nothing; 403 is for a good token that allows too little."""
    good = good_tokens(mint)
    answers = await answers_of(module_edge.config.http_port, [get_with(PATH, token) for token in good.values()])
    for name, answer in zip(good, answers, strict=True):
        assert answer.status == (403 if name in ("no roles", "no scope") else 200), name


async def test_every_flipped_bit_is_refused(module_edge: Any, mint: TokenMint) -> None:
    """Also behind the good token itself, whose verdict is remembered."""
    port, token = module_edge.config.http_port, mint.token()
    flipped = list(flipped_tokens(token))
    answers = await answers_of(port, [get_with(PATH, one) for one in (token, *flipped)])
    assert answers[0].status == 200
    assert len(flipped) == 8 * len(token)
    for one, answer in zip(flipped, answers[1:], strict=True):
        assert answer.status == 401 or (answer.status == 400 and not is_for_http(one)), repr(one)


async def test_a_good_token_anywhere_else_is_none(module_edge: Any, mint: TokenMint) -> None:
    """RFC 6750 knows forms and queries, which end in logs; two headers would be read in two ways."""
    good, bad = mint.token(), mint.token(exp=1)
    basic = base64.b64encode(f"ada:{good}".encode()).decode()
    places = {
        "query": (f"{PATH}?access_token={good}", ()),
        "cookie": (PATH, (f"Cookie: access_token={good}; Authorization=Bearer {good}",)),
        "another field": (PATH, (f"X-Authorization: Bearer {good}", f"Proxy-Authorization: Bearer {good}")),
        "basic": (PATH, (f"Authorization: Basic {basic}",)),
        "without a scheme": (PATH, (f"Authorization: {good}",)),
        "another scheme": (PATH, (f"Authorization: DPoP {good}",)),
        "behind a bad one": (PATH, (f"Authorization: Bearer {bad}", f"Authorization: Bearer {good}")),
        "before a bad one": (PATH, (f"Authorization: Bearer {good}", f"Authorization: Bearer {bad}")),
        "twice": (PATH, (f"Authorization: Bearer {good}",) * 2),
    }
    requests = [
        "\r\n".join((f"GET {path} HTTP/1.1", "Host: localhost", *fields, "", "")).encode()
        for path, fields in places.values()
    ]
    for place, answer in zip(places, await answers_of(module_edge.config.http_port, requests), strict=True):
        assert answer.status in (400, 401), f"{place}: {answer.status}"


async def test_the_edge_and_the_services_read_a_token_alike(module_edge: Any, mint: TokenMint) -> None:
    """Two readers of one token are a hole: whatever is nearly good is good for both, or for neither."""
    seed = int(os.environ.get("RAGRID_TOKEN_SEED", str(time.time_ns() % 1_000_000)))
    count = int(os.environ.get("RAGRID_MUTATED_TOKENS", "1000"))
    trust = TokenTrust(issuer=mint.issuer, audience="memory", jwks_file=Path("unused"))
    service = TokenVerifier(trust, FixedKeys(parse_jwks(mint.jwks)), mint.clock)
    tokens = list(mutated_tokens(mint, random.Random(seed), count))
    answers = await answers_of(module_edge.config.http_port, [get_with(PATH, token) for token in tokens])
    taken = Counter(answer.status != 401 for answer in answers)
    assert min(taken[True], taken[False]) > count / 50, "too few of one kind to show anything"
    for token, answer in zip(tokens, answers, strict=True):
        assert answer.status in (200, 401, 403), f"seed {seed}: {token}"
        assert (answer.status != 401) == is_taken(service, token), f"seed {seed}, edge {answer.status}: {token}"


def is_taken(service: TokenVerifier, token: str) -> bool:
    try:
        service.verify(token)
    except InvalidTokenError:
        return False
    return True
