"""Verification keys: parsed from a JWKS (RFC 7517), kept fresh from the file that the gateway controller writes."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from joserfc import jwk
from joserfc.errors import JoseError

from ragrid.errors import StateError
from ragrid.identity.strict import decode_base64url, strict_object
from ragrid.system.clock import Clock

logger = logging.getLogger(__name__)

#: A change of the file is seen this late at most, seconds; one stat(2) costs about a microsecond.
STAT_INTERVAL_S = 0.5
#: A key identifier that nobody knows makes us read the file again at most this often, seconds.
UNKNOWN_KID_INTERVAL_S = 2.0
#: The three keys of a grid take under 1 KB; more than this is not a JWKS of ours.
JWKS_LIMIT_BYTES = 256 * 1024

#: RFC 8725 section 3.1: the key fixes the algorithm. (kty, crv) to the only `alg` it verifies.
_ALGORITHMS: Mapping[tuple[str, str | None], str] = {
    ("EC", "P-256"): "ES256",
    ("RSA", None): "RS256",
    ("OKP", "Ed25519"): "Ed25519",
}
#: RFC 8725 section 3.5 and RFC 7518 section 3.3: shorter RSA keys are not used.
_RSA_BITS = 2048


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """One public key with the one algorithm that it verifies."""

    kid: str
    algorithm: str
    key: jwk.Key = field(repr=False, compare=False)


class KeySource(Protocol):
    """Where verification keys come from. `revision` changes whenever the set of keys does."""

    @property
    def revision(self) -> int:
        """Return a number that is another one after every change; reading it may look at the source."""
        ...

    def find(self, kid: str) -> VerificationKey | None:
        """Return the key called `kid`, or None when nobody publishes such a key."""
        ...


class FixedKeys:
    """Keys that never change; for a process that holds them itself, and for tests."""

    def __init__(self, keys: Mapping[str, VerificationKey]) -> None:
        self._keys = dict(keys)
        self.revision = 0

    def find(self, kid: str) -> VerificationKey | None:
        """Return the key called `kid`, or None."""
        return self._keys.get(kid)

    def replace(self, keys: Mapping[str, VerificationKey]) -> None:
        """Put another set of keys in the place of this one."""
        self._keys = dict(keys)
        self.revision += 1


class KeyFile:
    """The keys in a JWKS file, read again when it changes.

    The last good keys stay when the file is broken, gone or holds no usable key: a bad write never locks anybody out.
    The file need not exist when this object is made; until it does, no key is known.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._keys: Mapping[str, VerificationKey] = {}
        self._revision = 0
        self._seen: tuple[int, int, int] | None = None
        self._complained = ""
        self._next_stat_s = float("-inf")
        self._next_search_s = float("-inf")

    @property
    def revision(self) -> int:
        """Return a number that is another one after every change; looks at the file every 0.5 s at most."""
        now_s = self._clock.monotonic_s()
        if now_s >= self._next_stat_s:
            self._next_stat_s = now_s + STAT_INTERVAL_S
            self._look(force=False)
        return self._revision

    def find(self, kid: str) -> VerificationKey | None:
        """Return the key called `kid`, or None; an unknown one makes us read the file again, every 2 s at most."""
        _ = self.revision
        found = self._keys.get(kid)
        if found is None and self._clock.monotonic_s() >= self._next_search_s:
            self._next_search_s = self._clock.monotonic_s() + UNKNOWN_KID_INTERVAL_S
            self._look(force=True)
            found = self._keys.get(kid)
        return found

    def _look(self, *, force: bool) -> None:
        try:
            status = os.stat(self._path)  # noqa: PTH116 - half the price of Path.stat, and it is on the hot path
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
            if seen == self._seen and not force:
                return
            self._seen = seen
            with self._path.open("rb") as file:
                keys = parse_jwks(file.read(JWKS_LIMIT_BYTES + 1), where=str(self._path))
        except (OSError, StateError) as error:
            self._complain(str(error))
            return
        self._complained = ""
        if _fingerprint(keys) != _fingerprint(self._keys):
            self._keys = keys
            self._revision += 1
            logger.info("verification keys changed", extra={"kids": sorted(keys), "file": str(self._path)})

    def _complain(self, reason: str) -> None:
        if reason != self._complained:
            self._complained = reason
            logger.warning("verification keys not readable; the last good ones stay", extra={"reason": reason})


def parse_jwks(content: bytes, *, where: str = "jwks") -> dict[str, VerificationKey]:
    """Return the usable signature keys of a JWKS by `kid`, public halves only.

    Keys of other kinds, for encryption, or without `kid` are left out, as RFC 7517 section 5 says. Raises StateError
    when the content is no JWKS, holds a `kid` twice, or holds no usable key at all.
    """
    if len(content) > JWKS_LIMIT_BYTES:
        raise StateError(f"{where}: more than {JWKS_LIMIT_BYTES} bytes; wanted a JSON Web Key Set (RFC 7517)")
    try:
        members = strict_object(content).get("keys")
    except ValueError as error:
        raise StateError(f"{where}: not a JSON Web Key Set: {error}; wanted RFC 7517") from error
    if not isinstance(members, list):
        raise StateError(f"{where}: 'keys' is {type(members).__name__}, wanted a list (RFC 7517)")
    keys: dict[str, VerificationKey] = {}
    for member in members:
        key = _usable_key(member)
        if key is None:
            continue
        if key.kid in keys:
            raise StateError(f"{where}: two keys are called {key.kid!r}; wanted one name for each key")
        keys[key.kid] = key
    if not keys:
        raise StateError(f"{where}: no usable key among {len(members)}; wanted ES256, RS256 or Ed25519 keys with a kid")
    return keys


def _usable_key(member: object) -> VerificationKey | None:
    if not isinstance(member, dict) or not isinstance(member.get("kid"), str):
        return None
    algorithm = _algorithm_of(member)
    if algorithm is None or member.get("use", "sig") != "sig":
        return None
    try:
        if algorithm == "RS256" and _size_bits(member["n"]) < _RSA_BITS:
            return None
        key = jwk.import_key(_public_members(member))
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return VerificationKey(member["kid"], algorithm, key)


def _algorithm_of(member: Mapping[str, Any]) -> str | None:
    kind, curve = member.get("kty"), member.get("crv")
    if not isinstance(kind, str) or not isinstance(curve, str | None):
        return None
    algorithm = _ALGORITHMS.get((kind, curve))
    # RFC 9864 renamed EdDSA over this curve to Ed25519; older key sets still carry the old name.
    names = {algorithm, "EdDSA"} if algorithm == "Ed25519" else {algorithm}
    return algorithm if member.get("alg", algorithm) in names else None


def _size_bits(modulus: str) -> int:
    return int.from_bytes(decode_base64url(modulus)).bit_length()


def _public_members(member: Mapping[str, Any]) -> dict[str, Any]:
    return {name: member[name] for name in ("kty", "crv", "x", "y", "n", "e") if name in member}


def _fingerprint(keys: Mapping[str, VerificationKey]) -> frozenset[tuple[str, str]]:
    return frozenset((kid, key.key.thumbprint()) for kid, key in keys.items())
