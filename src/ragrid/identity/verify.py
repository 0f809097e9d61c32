"""Turns an access token (RFC 9068) into Claims, or refuses it. Every service of ours calls this on every request."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError

from ragrid.errors import AuthError
from ragrid.identity.claims import Claims
from ragrid.identity.confinement import ConfinementError, claims_of_confinement
from ragrid.identity.keys import KeySource, VerificationKey
from ragrid.identity.revocations import NothingRevoked, RevocationSource
from ragrid.identity.strict import decode_base64url, strict_object
from ragrid.spec.settings import TokenTrust
from ragrid.system.clock import Clock

#: Longer tokens are refused before anything is computed over them. Ours have about 700 characters.
TOKEN_LIMIT_CHARACTERS = 8192
#: How far `exp` and `nbf` may miss, seconds: hosts with NTP differ by milliseconds, without it by seconds.
LEEWAY_S = 5.0
#: How far ahead `iat` may lie, seconds. It grants nothing, so a fast issuer must not lock everybody out.
ISSUED_AHEAD_S = 60.0
#: A signature verdict is believed this long at most, seconds; then it is computed again.
VERDICT_CEILING_S = 30.0
#: Verdicts kept at once; the oldest leaves first. About 1.5 KB each.
VERDICT_LIMIT = 4096
#: Claims that name somebody are short and in ASCII, as everybody reads and compares it; others are a mistake of the
#: issuer. The gateway has the same limits.
NAME_LIMIT_CHARACTERS = 256

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_HEADER_MEMBERS = frozenset({"alg", "kid", "typ"})
_TYPES = frozenset({"at+jwt", "application/at+jwt"})
_REGISTRIES = {name: jws.JWSRegistry(algorithms=[name]) for name in ("ES256", "RS256", "Ed25519")}


class InvalidTokenError(AuthError):
    """The token is not one that this service accepts. `code` is the name that RFC 6750 gives the refusal."""

    code = "invalid_token"


class ExpiredTokenError(InvalidTokenError):
    """The token was good and its time is over; a fresh one will do."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """A signature that was found right: only that is kept. Time is checked again at every use."""

    claims: Claims
    not_before_s: float
    revision: int
    until_s: float


class TokenVerifier:
    """Verifies tokens of one issuer for one audience. Not thread-safe: one for each event loop.

    The signature verdict is kept for 30 s, at most until the key set changes; expiry and revocations are looked at for
    every call.
    """

    def __init__(
        self, trust: TokenTrust, keys: KeySource, clock: Clock, *, revocations: RevocationSource | None = None
    ) -> None:
        self._trust = trust
        self._keys = keys
        self._clock = clock
        self._revocations = revocations or NothingRevoked()
        self._verdicts: dict[str, _Verdict] = {}

    def verify(self, token: str) -> Claims:
        """Return what `token` says of its bearer. Permissions are its `scope`, which the issuer cut with the roles.

        Raises ExpiredTokenError when only its time is over, InvalidTokenError for everything else.
        """
        verdict = self._verdicts.get(token)
        if verdict is None or verdict.revision != self._keys.revision or self._clock.monotonic_s() >= verdict.until_s:
            verdict = self._judge(token)
        now_s = self._clock.now_s()
        if now_s >= verdict.claims.expires_at_s + LEEWAY_S:
            self._verdicts.pop(token, None)
            raise ExpiredTokenError("token expired; ask the token endpoint for a fresh one")
        if now_s < verdict.not_before_s - LEEWAY_S or now_s < verdict.claims.issued_at_s - ISSUED_AHEAD_S:
            raise InvalidTokenError("token is not valid yet; compare the clocks of issuer and service")
        if self._is_revoked(verdict.claims):
            raise InvalidTokenError("token was revoked; ask for a fresh one")
        return verdict.claims

    def _is_revoked(self, claims: Claims) -> bool:
        return self._revocations.revoked.covers(
            token_id=claims.token_id,
            subject=claims.subject,
            client_id=claims.client_id,
            issued_s=claims.issued_at_s,
        )

    def _judge(self, token: str) -> _Verdict:
        self._verdicts.pop(token, None)
        revision = self._keys.revision  # read before the key, so that a change in between makes the verdict stale
        members = signed_members(token, self._keys)
        verdict = _Verdict(
            claims=_read_claims(members, self._trust),
            not_before_s=_seconds(members, "nbf") if "nbf" in members else -math.inf,
            revision=revision,
            until_s=self._clock.monotonic_s() + VERDICT_CEILING_S,
        )
        if len(self._verdicts) >= VERDICT_LIMIT:
            del self._verdicts[next(iter(self._verdicts))]
        self._verdicts[token] = verdict
        return verdict


def signed_members(token: str, keys: KeySource, *, types: frozenset[str] = _TYPES) -> dict[str, Any]:
    """Return the payload of a token that one of `keys` signed; who it is for and when is not looked at.

    `types` are the kinds of token that will do, in lower case: access tokens, unless told otherwise. Raises
    InvalidTokenError.
    """
    header, payload = _split(token, types)
    _check_signature(token, _key_for(header, keys))
    return _object_of(payload, "payload")


def _key_for(header: Mapping[str, Any], keys: KeySource) -> VerificationKey:
    kid = header.get("kid")
    if not isinstance(kid, str):
        raise InvalidTokenError("token header has no 'kid', wanted the name of a published key")
    key = keys.find(kid)
    if key is None:
        raise InvalidTokenError("token is signed with a key that is not published; ask for a fresh token")
    if header.get("alg") != key.algorithm:
        raise InvalidTokenError(f"token header 'alg' does not fit the key, wanted {key.algorithm!r}")
    return key


def _split(token: str, types: frozenset[str]) -> tuple[dict[str, Any], str]:
    """Return the checked header and the undecoded payload; nothing is computed over a token that is too long."""
    if len(token) > TOKEN_LIMIT_CHARACTERS:
        raise InvalidTokenError(f"token has {len(token)} characters, wanted at most {TOKEN_LIMIT_CHARACTERS}")
    if not _COMPACT.fullmatch(token):
        raise InvalidTokenError("token is not three dot-separated parts of base64url")
    encoded_header, payload, signature = token.split(".")
    header = _object_of(encoded_header, "header")
    unknown = header.keys() - _HEADER_MEMBERS
    if unknown:
        raise InvalidTokenError("token header holds members other than alg, kid and typ; none of them is supported")
    kind = header.get("typ", "")
    if not isinstance(kind, str) or kind.lower() not in types:
        wanted = "'at+jwt'; only access tokens are accepted" if types is _TYPES else "one that is accepted here"
        raise InvalidTokenError(f"token header 'typ' is not {wanted}")
    try:
        decode_base64url(signature)
    except ValueError as error:
        raise InvalidTokenError(f"token signature is {error}") from error
    return header, payload


def _object_of(encoded: str, part: str) -> dict[str, Any]:
    try:
        return strict_object(decode_base64url(encoded))
    except ValueError as error:
        raise InvalidTokenError(f"token {part} is not a plain JSON object") from error


def _check_signature(token: str, key: VerificationKey) -> None:
    try:
        jws.deserialize_compact(token, key.key, registry=_REGISTRIES[key.algorithm])
    except (JoseError, ValueError) as error:
        raise InvalidTokenError("token signature is wrong") from error


def _read_claims(members: Mapping[str, Any], trust: TokenTrust) -> Claims:
    issuer = members.get("iss")
    if not isinstance(issuer, str) or issuer != trust.issuer:
        raise InvalidTokenError(f"token 'iss' is not this grid's, wanted {trust.issuer!r}")
    audience = _audience(members)
    if trust.audience not in audience:
        raise InvalidTokenError(f"token 'aud' does not name this service, wanted {trust.audience!r}")
    try:
        memory_namespaces, memory_user = claims_of_confinement(members)
    except ConfinementError as error:
        raise InvalidTokenError(f"token {error}") from error
    return Claims(
        issuer=issuer,
        subject=_name(members, "sub"),
        client_id=_name(members, "client_id"),
        tenant=_name(members, "tenant"),
        audience=audience,
        token_id=_name(members, "jti"),
        issued_at_s=_seconds(members, "iat"),
        expires_at_s=_seconds(members, "exp"),
        roles=_names(members.get("roles", []), "roles"),
        permissions=_permissions(members.get("scope", "")),
        memory_namespaces=memory_namespaces,
        memory_user=memory_user,
    )


def _audience(members: Mapping[str, Any]) -> tuple[str, ...]:
    audience = members.get("aud")
    return (audience,) if isinstance(audience, str) else _names(audience, "aud")


def _names(value: object, claim: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidTokenError(f"token {claim!r} is not a list of strings")
    return tuple(value)


def _name(members: Mapping[str, Any], claim: str) -> str:
    value = members.get(claim)
    if not isinstance(value, str) or not 0 < len(value) <= NAME_LIMIT_CHARACTERS:
        raise InvalidTokenError(f"token {claim!r} is not a string of 1 to {NAME_LIMIT_CHARACTERS} characters")
    if not value.isascii() or not value.isprintable():
        raise InvalidTokenError(f"token {claim!r} holds what is no printable ASCII character")
    return value


def _seconds(members: Mapping[str, Any], claim: str) -> float:
    value = members.get(claim)
    # A bool is an int in Python, and a huge int does not fit a float: both are refused by name.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        raise InvalidTokenError(f"token {claim!r} is not a number of seconds since 1970")
    return float(value)


def _permissions(scope: object) -> frozenset[str]:
    if not isinstance(scope, str):
        raise InvalidTokenError("token 'scope' is not a string of space-separated permissions")
    return frozenset(scope.split(" ")) - {""}
