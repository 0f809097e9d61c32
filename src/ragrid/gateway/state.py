"""The state that the controller hands to nginx: the one contract between Python and Lua (`lua/state.lua` checks it)."""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from ragrid.errors import StateError
from ragrid.registry.protocol import Instance

#: Which algorithm a key may be used for; the key decides, never the header of a token.
_KINDS: Mapping[str, tuple[Callable[[Mapping[str, Any]], ECKey | RSAKey | OKPKey], str | None]] = {
    "ES256": (lambda entry: ECKey.import_key(dict(entry)), "P-256"),
    "RS256": (lambda entry: RSAKey.import_key(dict(entry)), None),
    "Ed25519": (lambda entry: OKPKey.import_key(dict(entry)), "Ed25519"),
    "EdDSA": (lambda entry: OKPKey.import_key(dict(entry)), "Ed25519"),
}


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Common ground: immutable, named members, nothing unknown."""


class VerificationKey(_Part, frozen=True, kw_only=True):
    """One public key; `spki` is its SubjectPublicKeyInfo as DER in base64."""

    kid: str
    alg: str
    spki: str


class Endpoint(_Part, frozen=True, kw_only=True):
    """One instance; `host` is an IP address, as nginx resolves no names here."""

    id: str
    host: str
    port: int
    weight: int = 1
    draining: bool = False


class ServiceState(_Part, frozen=True, kw_only=True):
    """The instances of one service. An empty list counts only when it is `confirmed`."""

    endpoints: tuple[Endpoint, ...]
    confirmed: bool = False


class Revocations(_Part, frozen=True, kw_only=True):
    """What is refused although its signature holds: token ids (with their expiry), and what was issued before a time.

    `subjects` and `clients` name such a time for one `sub` or `client_id`. Times are seconds since the Unix epoch.
    """

    tokens: dict[str, float] = {}
    subjects: dict[str, float] = {}
    clients: dict[str, float] = {}
    not_before: float = 0.0


class GatewayState(_Part, frozen=True, kw_only=True):
    """Everything nginx needs to serve. A higher `version` replaces a lower one whole."""

    version: int
    keys: tuple[VerificationKey, ...]
    services: dict[str, ServiceState]
    roles: dict[str, tuple[str, ...]]
    revoked: Revocations = Revocations()


def dump_state(state: GatewayState) -> bytes:
    """Return the same bytes for the same state."""
    return msgspec.json.encode(state, order="sorted") + b"\n"


def parse_state(content: bytes) -> GatewayState:
    """Read a state. Raises StateError naming the member that is wrong."""
    try:
        return msgspec.json.decode(content, type=GatewayState)
    except msgspec.MsgspecError as error:
        raise StateError(f"gateway state: {error}; remove the file, and the controller writes it again") from error


def keys_from_jwks(content: bytes) -> tuple[VerificationKey, ...]:
    """Return the usable keys of a JWKS, sorted by kid; keys of unknown kinds are left out, as RFC 7517 asks.

    Raises StateError when it is no JWKS or holds no usable key.
    """
    try:
        entries = json.loads(content)["keys"]
        usable = [entry for entry in entries if entry.get("use", "sig") == "sig" and entry.get("alg") in _KINDS]
        keys = tuple(sorted((_verification_key(entry) for entry in usable), key=lambda key: key.kid))
    except (ValueError, KeyError, TypeError, AttributeError, JoseError) as error:
        raise StateError(f"JWKS: not a key set: {error!r}; ask the token service's log why") from error
    if not keys:
        raise StateError("JWKS: holds no ES256, RS256 or Ed25519 key; ask the token service's log why")
    return keys


def _verification_key(entry: Mapping[str, Any]) -> VerificationKey:
    read, curve = _KINDS[entry["alg"]]
    if curve is not None and entry.get("crv") != curve:
        raise ValueError(f"key {entry.get('kid')!r}: got curve {entry.get('crv')!r}, wanted {curve} for {entry['alg']}")
    public = {name: value for name, value in entry.items() if name in {"kty", "crv", "x", "y", "n", "e", "kid", "alg"}}
    der = read(public).as_der(private=False)
    return VerificationKey(kid=entry["kid"], alg=entry["alg"], spki=base64.b64encode(der).decode())


class _RevokedToken(msgspec.Struct, frozen=True):
    jti: str
    exp: float


class RevokedList(msgspec.Struct, frozen=True):
    """What the token service answers; `revision` is another one after every change of its keys or revocations."""

    revoked: tuple[_RevokedToken, ...]
    subjects: dict[str, float] = {}
    clients: dict[str, float] = {}
    revision: str = ""

    def revocations(self) -> Revocations:
        """Return it as nginx wants it."""
        return Revocations(
            tokens={one.jti: one.exp for one in sorted(self.revoked, key=lambda one: one.jti)},
            subjects=dict(sorted(self.subjects.items())),
            clients=dict(sorted(self.clients.items())),
        )


def parse_revocations(content: bytes) -> RevokedList:
    """Read the token service's list of what it has revoked. Raises StateError when it is none."""
    try:
        return msgspec.json.decode(content, type=RevokedList)
    except msgspec.MsgspecError as error:
        raise StateError(f"revocations: {error}; ask the token service's log why") from error


def endpoints_of(service: str, instances: Sequence[Instance]) -> tuple[Endpoint, ...]:
    """Return the endpoints of `service`, sorted by id."""
    return tuple(
        Endpoint(
            id=instance.instance_id,
            host=instance.host,
            port=instance.port,
            weight=max(1, instance.weight),
            draining=instance.draining,
        )
        for instance in sorted(instances, key=lambda one: one.instance_id)
        if instance.service == service
    )
