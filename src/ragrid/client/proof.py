"""How a client proves to the token service who it is: with a secret, or with a private key that it shows to nobody."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from joserfc import jwk, jws
from joserfc.errors import JoseError

from ragrid.client.calls import Call, form_call
from ragrid.client.models import Token
from ragrid.errors import StateError

#: An assertion is used at once; this long it may be on its way, seconds. The grid takes none that lives over 300 s.
ASSERTION_S = 60
_KIND = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ALGORITHMS: Mapping[tuple[str, str | None], str] = {
    ("EC", "P-256"): "ES256",
    ("RSA", None): "RS256",
    ("OKP", "Ed25519"): "Ed25519",
}


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A signing key (ES256, RS256 or Ed25519); the grid knows its public half (`ragrid client create --jwks`)."""

    algorithm: str
    kid: str
    key: jwk.Key = field(repr=False, compare=False)

    @staticmethod
    def read(path: Path) -> "PrivateKey":
        """Read one private key as JWK (RFC 7517). Raises StateError naming the file; the key is never repeated."""
        try:
            members = json.loads(path.read_bytes())
            algorithm = _ALGORITHMS[members["kty"], members.get("crv")]
            key = jwk.import_key(members)
            if not key.is_private:
                raise StateError(f"{path}: holds a public key, wanted the private half")
            return PrivateKey(algorithm, str(members.get("kid") or key.thumbprint()), key)
        except OSError as error:
            raise StateError(f"{path}: {error.strerror}; wanted a private key as JWK") from error
        except (ValueError, KeyError, TypeError, JoseError):
            # without a cause: what a parser says of a secret may repeat it
            raise StateError(f"{path}: no private key; wanted a JWK of P-256, RSA or Ed25519") from None

    def assertion(self, client_id: str, *, issuer: str, now_s: float) -> str:
        """Return a proof of `client_id` for this issuer, good once and for a minute (RFC 7523, section 3)."""
        header = {"alg": self.algorithm, "kid": self.kid, "typ": "JWT"}
        claims = {
            "iss": client_id,
            "sub": client_id,
            "aud": issuer,
            "iat": int(now_s),
            "exp": int(now_s) + ASSERTION_S,
            "jti": secrets.token_urlsafe(16),
        }
        registry = jws.JWSRegistry(algorithms=[self.algorithm])
        return jws.serialize_compact(header, json.dumps(claims), self.key, registry=registry)


@dataclass(frozen=True, slots=True)
class Identity:
    """A client and its proof: its secret, or its key with the issuer of the grid (its public address)."""

    client_id: str
    proof: str | PrivateKey = field(repr=False)
    issuer: str
    #: Members of the form that ask for less than the client may do; see `calls.narrowed`.
    less: Mapping[str, str] = field(default_factory=dict)

    def ask(self, now_s: float) -> Call[Token]:
        """Ask for an access token with the client credentials grant (RFC 6749, section 4.4)."""
        form = {"grant_type": "client_credentials", **self.less}
        if isinstance(self.proof, str):
            return form_call("/oauth2/token", Token, form, client=(self.client_id, self.proof))
        assertion = self.proof.assertion(self.client_id, issuer=self.issuer, now_s=now_s)
        form |= {"client_id": self.client_id, "client_assertion_type": _KIND, "client_assertion": assertion}
        return form_call("/oauth2/token", Token, form)
