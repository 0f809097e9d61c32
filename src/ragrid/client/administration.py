"""What an administrator asks of the token service (pure): calls, and their answers as values."""

from collections.abc import Mapping, Sequence
from urllib.parse import quote

import msgspec

from ragrid.client.calls import Call, form_call, json_call

_PREFIX = "/tokens/v1"


class _Model(msgspec.Struct, frozen=True, kw_only=True):
    """Common ground: immutable, named members; unknown ones are left out."""


class ClientEntry(_Model, frozen=True, kw_only=True):
    """One OAuth client. A `declared` one comes from the grid's settings."""

    client_id: str
    tenant: str
    roles: tuple[str, ...]
    declared: bool = False
    created_s: float = 0.0
    redirect_uris: tuple[str, ...] = ()
    public: bool = False
    has_key: bool = False


class ClientPage(_Model, frozen=True, kw_only=True):
    """All clients."""

    clients: tuple[ClientEntry, ...]


class NewClient(_Model, frozen=True, kw_only=True):
    """A client that was just made; its secret can never be read again, and is not shown when the value is printed.

    A public client has none ("").
    """

    client_id: str
    tenant: str
    roles: tuple[str, ...]
    client_secret: str = ""

    def __repr__(self) -> str:
        return f"NewClient(client_id={self.client_id!r}, tenant={self.tenant!r}, roles={self.roles!r})"


class User(_Model, frozen=True, kw_only=True):
    """One person who may sign in, unless `disabled`."""

    name: str
    tenant: str
    roles: tuple[str, ...]
    disabled: bool = False
    created_s: float = 0.0


class UserPage(_Model, frozen=True, kw_only=True):
    """All people."""

    users: tuple[User, ...]


class Role(_Model, frozen=True, kw_only=True):
    """What one role allows; `builtin` ones are the same in every grid."""

    role: str
    permissions: tuple[str, ...]
    builtin: bool


class RolePage(_Model, frozen=True, kw_only=True):
    """All roles."""

    roles: tuple[Role, ...]


class AuditLine(_Model, frozen=True, kw_only=True):
    """One line of the audit log; times are seconds since 1970."""

    id: int
    at_s: float
    event: str
    client_id: str | None = None
    subject: str | None = None
    token_id: str | None = None
    expires_s: float | None = None
    details: dict[str, object] = {}


class AuditPage(_Model, frozen=True, kw_only=True):
    """Some lines, and where the next ones begin."""

    events: tuple[AuditLine, ...]
    next: int


class SigningKey(_Model, frozen=True, kw_only=True):
    """One signing key: `next` is published and does not sign yet, `previous` verifies and signs no more."""

    kid: str
    state: str
    created_s: float
    activated_s: float | None = None
    retired_s: float | None = None


class KeyPage(_Model, frozen=True, kw_only=True):
    """All signing keys."""

    keys: tuple[SigningKey, ...]


class TokensEnded(_Model, frozen=True, kw_only=True):
    """All tokens of one client or subject from before a time count for nothing."""

    kind: str
    name: str
    not_before_s: float


def clients() -> Call[ClientPage]:
    """Ask for all clients."""
    return Call(method="GET", path=f"{_PREFIX}/clients", answer=ClientPage)


def create_client(
    client_id: str,
    roles: Sequence[str],
    *,
    tenant: str | None = None,
    redirect_uris: Sequence[str] = (),
    public: bool = False,
    jwks: Mapping[str, object] | None = None,
) -> Call[NewClient]:
    """Make a client; `redirect_uris` are for those that people sign in with, `jwks` for those that have a key."""
    wanted = {"client_id": client_id, "roles": list(roles), **({"tenant": tenant} if tenant else {})}
    more = {"redirect_uris": list(redirect_uris), "public": public, **({"jwks": jwks} if jwks is not None else {})}
    return json_call(f"{_PREFIX}/clients", NewClient, {**wanted, **more})


def delete_client(client_id: str) -> Call[None]:
    """Delete a client; its tokens die with it."""
    return Call(method="DELETE", path=f"{_PREFIX}/clients/{quote(client_id, safe='')}", answer=type(None))


def users() -> Call[UserPage]:
    """Ask for all people."""
    return Call(method="GET", path=f"{_PREFIX}/users", answer=UserPage)


def add_user(name: str, password: str, roles: Sequence[str], tenant: str | None) -> Call[User]:
    """Make a person."""
    wanted = {"name": name, "password": password, "roles": list(roles), **({"tenant": tenant} if tenant else {})}
    return json_call(f"{_PREFIX}/users", User, wanted)


def change_user(name: str, *, password: str | None = None, disabled: bool | None = None) -> Call[None]:
    """Give a person another password, or keep them out, or let them in again; they are signed out everywhere."""
    wanted = {"password": password} if password is not None else {"disabled": disabled}
    path = f"{_PREFIX}/users/{quote(name, safe='')}"
    return json_call(path, type(None), wanted, method="PATCH")


def roles() -> Call[RolePage]:
    """Ask what each role allows."""
    return Call(method="GET", path=f"{_PREFIX}/roles", answer=RolePage)


def audit(after: int, *, since_s: float, subject: str | None, limit: int) -> Call[AuditPage]:
    """Ask for up to `limit` lines of the audit log that follow the line `after`."""
    wanted: dict[str, str | int] = {"after": after, "since": int(since_s), "limit": limit}
    if subject is not None:
        wanted["subject"] = subject
    return Call(method="GET", path=f"{_PREFIX}/audit", answer=AuditPage, parameters=wanted)


def keys() -> Call[KeyPage]:
    """Ask for the signing keys."""
    return Call(method="GET", path=f"{_PREFIX}/keys", answer=KeyPage)


def rotate_keys() -> Call[KeyPage]:
    """Sign with the next key from now on."""
    return json_call(f"{_PREFIX}/keys/rotate", KeyPage, {})


def withdraw_key(kid: str) -> Call[KeyPage]:
    """Take a key out of use at once; every token that it signed dies."""
    return Call(method="DELETE", path=f"{_PREFIX}/keys/{quote(kid, safe='')}", answer=KeyPage)


def end_tokens(*, client_id: str | None = None, subject: str | None = None) -> Call[TokensEnded]:
    """End every token of one client or one subject."""
    wanted = {"client_id": client_id} if client_id is not None else {"subject": subject}
    return json_call(f"{_PREFIX}/revocations", TokensEnded, wanted)


def revoke_token(token: str, client_id: str, client_secret: str) -> Call[None]:
    """Make one token worthless (RFC 7009)."""
    return form_call("/oauth2/revoke", type(None), {"token": token}, client=(client_id, client_secret))


def introspect(token: str, client_id: str, client_secret: str) -> Call[dict[str, object]]:
    """Ask the token service what it thinks of a token (RFC 7662)."""
    return form_call("/oauth2/introspect", dict, {"token": token}, client=(client_id, client_secret))


def key_set() -> Call[msgspec.Raw]:
    """Ask for the grid's public keys (RFC 7517), as they came."""
    return Call(method="GET", path="/.well-known/jwks.json", answer=msgspec.Raw, has_token=False)
