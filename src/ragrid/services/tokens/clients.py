"""OAuth clients and their secrets."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection
from pathlib import Path

import msgspec

from ragrid.errors import StateError
from ragrid.spec.settings import ClientSeed

#: 256 bits in base64url. That many cannot be guessed, so a plain hash keeps them as well as a slow one would.
SECRET_CHARACTERS = 43
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
#: Stands in for the hash of a client that does not exist, so that both refusals take the same time.
_NOBODY = bytes(32)


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """One client. `declared` ones come from the settings, follow them, and are not changed through the API.

    `public` ones keep no secret (a command line, a program in a browser), have no roles, and only act for people;
    `redirect_uris` are the addresses that people may be sent back to, compared as text. A client with `jwks` (a JSON
    Web Key Set, public halves) proves itself with a key, and has no secret.
    """

    client_id: str
    tenant: str
    roles: tuple[str, ...]
    secret_hash: bytes
    declared: bool
    created_s: float
    redirect_uris: tuple[str, ...] = ()
    public: bool = False
    jwks: str = ""

    @property
    def acts_for_people(self) -> bool:
        """It may ask people to sign in."""
        return self.public or bool(self.redirect_uris)

    def is_same_as(self, other: "Client") -> bool:
        """Return whether everything but the age is equal."""
        return msgspec.structs.replace(other, created_s=self.created_s) == self


#: What `ragrid login` is; it exists in every grid.
COMMAND_LINE = Client(
    client_id="ragrid", tenant="none", roles=(), secret_hash=b"", declared=True, created_s=0.0, public=True
)


def hash_secret(secret: str) -> bytes:
    """Return what is stored of a secret."""
    return hashlib.sha256(b"ragrid-client-secret\0" + secret.encode()).digest()


def is_secret_of(client: Client | None, secret: str) -> bool:
    """Return whether `secret` is the one of `client`; as slow for nobody as for somebody."""
    known = _NOBODY if client is None else client.secret_hash
    return hmac.compare_digest(hash_secret(secret), known) and client is not None


def make_secret() -> str:
    """Return a fresh secret of 256 bits."""
    return secrets.token_urlsafe(32)


def is_name(text: str) -> bool:
    """Return whether `text` can name a client or a tenant: 1 to 128 of letters, digits, `.`, `_`, `-`."""
    return _NAME.fullmatch(text) is not None


def load_seed(seed: ClientSeed, known_roles: Collection[str], *, now_s: float) -> Client:
    """Return the client that the settings declare; reads its secret file.

    Raises StateError naming what is wrong: the file's mode, a short secret, a bad name, an unknown role.
    """
    for what, text in (("client_id", seed.client_id), ("tenant", seed.tenant)):
        if not is_name(text):
            raise StateError(f"clients: {what} {text!r}, wanted 1 to 128 of letters, digits, '.', '_', '-'")
    unknown = sorted(set(seed.roles) - set(known_roles))
    if unknown or not seed.roles:
        raise StateError(f"clients: {seed.client_id!r} has the unknown roles {unknown}, wanted {sorted(known_roles)}")
    return Client(
        client_id=seed.client_id,
        tenant=seed.tenant,
        roles=seed.roles,
        secret_hash=hash_secret(_read_secret(seed.secret_file)),
        declared=True,
        created_s=now_s,
    )


def _read_secret(path: Path) -> str:
    try:
        mode = path.stat().st_mode & 0o777
        secret = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StateError(f"{path}: the secret is not readable: {error}; run `ragrid up` to make it again") from error
    if mode & 0o077:
        raise StateError(f"{path}: mode {mode:04o}, wanted 0600: others could read the secret; chmod 600 {path}")
    if len(secret) < SECRET_CHARACTERS:
        raise StateError(f"{path}: {len(secret)} characters, wanted {SECRET_CHARACTERS} or more; make a new secret")
    return secret
