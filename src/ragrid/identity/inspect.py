"""Looks at a token for a person: what it says, and why it is bad if it is (pure but for the clock)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ragrid.identity.keys import FixedKeys, VerificationKey
from ragrid.identity.strict import decode_base64url, strict_object
from ragrid.identity.verify import InvalidTokenError, TokenVerifier
from ragrid.spec.settings import TokenTrust
from ragrid.system.clock import Clock


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a token says, believed or not, and the first reason why no service would take it (None when they would).

    Whether it was revoked cannot be seen in a token; only the token service and the gateway know.
    """

    header: Mapping[str, Any] = field(default_factory=dict)
    claims: Mapping[str, Any] = field(default_factory=dict)
    fault: str | None = None


def inspect_token(token: str, keys: Mapping[str, VerificationKey], *, issuer: str, clock: Clock) -> Inspection:
    """Return what `token` says and what is wrong with it; never raises for a bad token."""
    header, claims = _decoded(token, 0), _decoded(token, 1)
    audience = claims.get("aud")
    names = [audience] if isinstance(audience, str) else audience if isinstance(audience, list) else []
    wanted = next((name for name in names if isinstance(name, str)), "")
    trust = TokenTrust(issuer=issuer, audience=wanted, jwks_file=Path("unused"))
    try:
        TokenVerifier(trust, FixedKeys(keys), clock).verify(token)
    except InvalidTokenError as error:
        return Inspection(header, claims, str(error))
    return Inspection(header, claims)


def _decoded(token: str, index: int) -> dict[str, Any]:
    try:
        return strict_object(decode_base64url(token.split(".")[index]))
    except (ValueError, IndexError):
        return {}
