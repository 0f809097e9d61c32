"""Signing keys with their material: made, turned into a JWKS, used to sign."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from joserfc import jwk, jws

from ragrid.errors import StateError
from ragrid.identity.keys import VerificationKey, parse_jwks
from ragrid.services.tokens.rotation import KeyRecord, ordered

ALGORITHM = "ES256"
_REGISTRY = jws.JWSRegistry(algorithms=[ALGORITHM])


@dataclass(frozen=True, slots=True, repr=False)
class KeyPair:
    """The JSON of both halves of one key; the private one is gone once the key has retired."""

    kid: str
    public_jwk: str
    private_jwk: str | None


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What the store holds of a key: its place in the rotation and its material."""

    record: KeyRecord
    pair: KeyPair


def make_pair() -> KeyPair:
    """Return a fresh P-256 key; its name is its thumbprint (RFC 7638)."""
    key = jwk.ECKey.generate_key("P-256")
    kid = key.thumbprint()
    public = {**key.as_dict(private=False), "kid": kid, "use": "sig", "alg": ALGORITHM}
    return KeyPair(kid, _json(public), _json({**key.as_dict(private=True), "kid": kid}))


class Keyring:
    """The keys of one moment: signs with the current one, publishes all. Immutable; a change makes another one."""

    def __init__(self, keys: Iterable[StoredKey]) -> None:
        by_name = {key.pair.kid: key for key in keys}
        self.pairs = {kid: key.pair for kid, key in by_name.items()}
        self.records = ordered(key.record for key in by_name.values())
        self.current = next(record for record in self.records if record.state == "current")
        private = self.pairs[self.current.kid].private_jwk
        if private is None:
            raise StateError(f"signing key {self.current.kid!r} has no private half; restore the data directory")
        self._signer = jwk.ECKey.import_key(json.loads(private))
        public = [json.loads(self.pairs[record.kid].public_jwk) for record in self.records]
        self.jwks = _json({"keys": public}).encode() + b"\n"

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Return an access token (RFC 9068) with these claims."""
        header = {"alg": ALGORITHM, "kid": self.current.kid, "typ": "at+jwt"}
        return jws.serialize_compact(header, _json(claims), self._signer, registry=_REGISTRY)

    def verification_keys(self) -> dict[str, VerificationKey]:
        """Return what `jwks` publishes, read as every verifier reads it."""
        return parse_jwks(self.jwks)


def stored(records: Iterable[KeyRecord], pairs: Mapping[str, KeyPair]) -> list[StoredKey]:
    """Join records with their material; a retired key loses its private half, so that it can never sign again."""
    joined: list[StoredKey] = []
    for record in records:
        pair = pairs[record.kid]
        if record.state == "previous":
            pair = KeyPair(pair.kid, pair.public_jwk, None)
        joined.append(StoredKey(record, pair))
    return joined


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)
