"""Signs access tokens, good and crafted, with keys made on the spot."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from joserfc import jwk, jws

from ragrid.identity.keys import FixedKeys, parse_jwks
from ragrid.identity.strict import encode_base64url
from ragrid.identity.verify import TokenVerifier
from ragrid.spec.settings import TokenTrust
from ragrid.system.clock import ManualClock

ISSUER = "https://grid.test"
AUDIENCE = "memory"

AsymmetricKey = jwk.ECKey | jwk.RSAKey | jwk.OKPKey


def _make_key(algorithm: str) -> AsymmetricKey:
    match algorithm:
        case "ES256":
            return jwk.ECKey.generate_key("P-256")
        case "RS256":
            return jwk.RSAKey.generate_key(2048)
        case _:
            return jwk.OKPKey.generate_key("Ed25519")


@dataclass
class TokenMint:
    """One issuer with one key; its clock stands still until told otherwise."""

    algorithm: str = "ES256"
    clock: ManualClock = field(default_factory=ManualClock)
    issuer: str = ISSUER
    audience: tuple[str, ...] = (AUDIENCE, "rag")
    given: AsymmetricKey | None = None

    def __post_init__(self) -> None:
        self.key = _make_key(self.algorithm) if self.given is None else self.given
        self.kid = self.key.thumbprint()
        self.public = {**self.key.as_dict(private=False), "kid": self.kid, "use": "sig", "alg": self.algorithm}

    @property
    def jwks(self) -> bytes:
        return json.dumps({"keys": [self.public]}).encode()

    @property
    def public_pem(self) -> bytes:
        return self.key.as_bytes(encoding="PEM", private=False)

    def verifier(self) -> TokenVerifier:
        trust = TokenTrust(issuer=ISSUER, audience=AUDIENCE, jwks_file=Path("unused"))
        return TokenVerifier(trust, FixedKeys(parse_jwks(self.jwks)), self.clock)

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Good claims, with `changes`; one that is `...` is left out."""
        now_s = int(self.clock.now_s())
        claims = {
            "iss": self.issuer,
            "aud": list(self.audience),
            "sub": "ada",
            "client_id": "ada",
            "tenant": "default_tenant",
            "scope": "memory:read memory:write",
            "roles": ["writer"],
            "iat": now_s,
            "exp": now_s + 600,
            "jti": "id-1",
        }
        return {name: value for name, value in {**claims, **changes}.items() if value is not ...}

    def header(self, **changes: Any) -> dict[str, Any]:
        header = {"alg": self.algorithm, "kid": self.kid, "typ": "at+jwt", **changes}
        return {name: value for name, value in header.items() if value is not ...}

    def token(self, **changes: Any) -> str:
        """A well-made token."""
        return self.raw(json.dumps(self.header()), json.dumps(self.claims(**changes)))

    def raw(self, header: str | bytes, payload: str | bytes) -> str:
        """Any bytes as header and payload, under a right signature of this mint's key."""
        return self.signed(f"{encode_base64url(_bytes(header))}.{encode_base64url(_bytes(payload))}")

    def signed(self, text: str) -> str:
        """Any text under a right signature of this mint's key."""
        algorithm = jws.JWSRegistry(algorithms=[self.algorithm]).get_alg(self.algorithm)
        return f"{text}.{encode_base64url(algorithm.sign(text.encode(), self.key))}"


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()
