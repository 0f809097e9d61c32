"""Clients that prove themselves with a key instead of a secret: `private_key_jwt` (RFC 7523 section 3)."""

import json
from collections.abc import Mapping
from typing import Any

from ragrid.errors import StateError
from ragrid.identity.keys import FixedKeys, parse_jwks
from ragrid.identity.strict import decode_base64url, strict_object
from ragrid.identity.verify import LEEWAY_S, InvalidTokenError, signed_members
from ragrid.services.tokens.clients import Client

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
#: An assertion is made for one request; one that lives longer than this, seconds, is refused.
LONGEST_S = 300.0
#: What its header may call it: nothing, as older libraries do, but never an access token.
_TYPES = frozenset({"", "jwt", "client-authentication+jwt"})
_NAME_LIMIT = 128
#: Members that only a private or symmetric key has (RFC 7518 section 6).
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


def claimed_client(assertion: str) -> str:
    """Return whose assertion this says to be, unverified; "" when it says nothing that could be looked up."""
    try:
        subject = strict_object(decode_base64url(assertion.split(".")[1])).get("sub")
    except (ValueError, IndexError):
        return ""
    return subject if isinstance(subject, str) and len(subject) <= _NAME_LIMIT else ""


def read_assertion(assertion: str, client: Client, *, issuer: str, now_s: float) -> tuple[str, float]:
    """Return the id and the expiry of an assertion that `client` has signed for this server, at this time.

    `aud` must be the issuer and nothing else: one that was made for another server is worth nothing here. Raises
    InvalidTokenError. Whether the id was seen before is the caller's to look at.
    """
    try:
        keys = FixedKeys(parse_jwks(client.jwks.encode(), where=client.client_id))
    except StateError as error:
        raise InvalidTokenError("the client has no key") from error
    members = signed_members(assertion, keys, types=_TYPES)
    if members.get("iss") != client.client_id or members.get("sub") != client.client_id:
        raise InvalidTokenError("assertion 'iss' and 'sub' must be the client's id")
    if members.get("aud") not in (issuer, [issuer]):
        raise InvalidTokenError(f"assertion 'aud' must be {issuer!r} alone")
    expires_s, token_id = _time(members, "exp"), members.get("jti")
    if not now_s - LEEWAY_S < expires_s <= now_s + LONGEST_S + LEEWAY_S:
        raise InvalidTokenError(f"assertion is over, or lives longer than {LONGEST_S:g} s")
    if "nbf" in members and _time(members, "nbf") > now_s + LEEWAY_S:
        raise InvalidTokenError("assertion is not valid yet")
    if not isinstance(token_id, str) or not 0 < len(token_id) <= _NAME_LIMIT:
        raise InvalidTokenError(f"assertion 'jti' must be a string of 1 to {_NAME_LIMIT} characters")
    return token_id, expires_s


def jwks_fault(key_set: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the keys that a client is to be known by, or None."""
    entries = key_set.get("keys")
    if isinstance(entries, list) and any(isinstance(entry, dict) and entry.keys() & _PRIVATE for entry in entries):
        return "holds a private key, which must never leave the client; make another one, and send the public half"
    try:
        parse_jwks(json.dumps(key_set).encode(), where="keys")
    except StateError as error:
        return str(error)
    return None


def _time(members: Mapping[str, Any], name: str) -> float:
    value = members.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        raise InvalidTokenError(f"assertion {name!r} is not a number of seconds since 1970")
    return float(value)
