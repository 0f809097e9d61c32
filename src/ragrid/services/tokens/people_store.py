"""What the store holds of people and of how they signed in. Codes and refresh tokens are kept as hashes only."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

from ragrid.services.tokens.store import Store, upsert

DeviceState = Literal["pending", "allowed", "denied"]


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """One person. The hash is argon2id's own text, parameters and salt included."""

    name: str
    tenant: str
    roles: tuple[str, ...]
    password_hash: str
    disabled: bool
    created_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """One time that a person allowed a client to act: every token from then on belongs to it, and dies with it."""

    sign_in_id: str
    client_id: str
    subject: str
    scope: tuple[str, ...]
    audience: tuple[str, ...]
    expires_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """One authorization code (RFC 6749 section 4.1) with what it was bound to."""

    sign_in_id: str
    redirect_uri: str
    challenge: str
    expires_s: float
    used: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshToken:
    """One refresh token; a `used` one that comes again was stolen, or its answer was lost."""

    sign_in_id: str
    expires_s: float
    used: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One device that waits for a person to allow it (RFC 8628)."""

    user_code: str
    client_id: str
    scope: tuple[str, ...] | None
    audience: tuple[str, ...]
    expires_s: float
    state: DeviceState = "pending"
    subject: str | None = None


def digest(secret: str) -> bytes:
    """Return what is stored of a code or token; all of them have 256 bits, so a plain hash keeps them."""
    return hashlib.sha256(b"ragrid-one-time\0" + secret.encode()).digest()


class PeopleStore:
    """People, sign-ins, codes, refresh tokens and devices, kept by `store`; changes belong in its `change()`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def users(self) -> list[User]:
        """Return all people by name."""
        return [_user(row) for row in self._store.rows("SELECT * FROM users ORDER BY name")]

    def user(self, name: str) -> User | None:
        """Return one person, or None."""
        rows = self._store.rows("SELECT * FROM users WHERE name = ?", (name,))
        return _user(rows[0]) if rows else None

    def put_user(self, user: User) -> None:
        """Store a person, in the place of one of the same name."""
        values = (
            user.name,
            user.tenant,
            json.dumps(user.roles),
            user.password_hash,
            int(user.disabled),
            user.created_s,
        )
        self._store.rows(upsert("users", _USER_COLUMNS), values)

    def sign_in(self, sign_in_id: str) -> SignIn | None:
        """Return one sign-in that was not ended, or None."""
        rows = self._store.rows("SELECT * FROM sign_ins WHERE sign_in_id = ?", (sign_in_id,))
        return _sign_in(rows[0]) if rows else None

    def put_sign_in(self, sign_in: SignIn) -> None:
        """Store a sign-in."""
        self._store.rows(
            "INSERT INTO sign_ins VALUES (?, ?, ?, ?, ?, ?)",
            (
                sign_in.sign_in_id,
                sign_in.client_id,
                sign_in.subject,
                json.dumps(sign_in.scope),
                json.dumps(sign_in.audience),
                sign_in.expires_s,
            ),
        )

    def sign_ins_of(self, *, subject: str | None = None, client_id: str | None = None) -> list[str]:
        """Return the ids of every sign-in of a person, or with a client."""
        query = "SELECT sign_in_id FROM sign_ins WHERE subject = ? OR client_id = ?"
        return [row[0] for row in self._store.rows(query, (subject, client_id))]

    def end_sign_in(self, sign_in_id: str) -> dict[str, float]:
        """Forget a sign-in with its refresh tokens; return the expiry of the access tokens that it had, by id.

        Its code stays, marked as used, so that a second use is still seen as one.
        """
        query = "SELECT token_id, expires_s FROM sign_in_tokens WHERE sign_in_id = ?"
        tokens = {row[0]: row[1] for row in self._store.rows(query, (sign_in_id,))}
        for table in ("sign_in_tokens", "sign_ins"):
            self._store.rows(f"DELETE FROM {table} WHERE sign_in_id = ?", (sign_in_id,))  # noqa: S608 - a name above
        for table in ("codes", "refresh_tokens"):
            self._store.rows(f"UPDATE {table} SET used = 1 WHERE sign_in_id = ?", (sign_in_id,))  # noqa: S608 - a name above
        return tokens

    def note_token(self, sign_in_id: str, token_id: str, expires_s: float) -> None:
        """Remember that an access token belongs to a sign-in."""
        self._store.rows("INSERT INTO sign_in_tokens VALUES (?, ?, ?)", (token_id, sign_in_id, expires_s))

    def sign_in_of_token(self, token_id: str) -> str | None:
        """Return the sign-in that an access token belongs to, or None."""
        rows = self._store.rows("SELECT sign_in_id FROM sign_in_tokens WHERE token_id = ?", (token_id,))
        return rows[0][0] if rows else None

    def put_code(self, secret: str, code: Code) -> None:
        """Store a code."""
        values = (digest(secret), code.sign_in_id, code.redirect_uri, code.challenge, code.expires_s, int(code.used))
        self._store.rows("INSERT INTO codes VALUES (?, ?, ?, ?, ?, ?)", values)

    def take_code(self, secret: str) -> Code | None:
        """Return a code as it was, and mark it as used; None when there is none."""
        rows = self._store.rows("SELECT * FROM codes WHERE hash = ?", (digest(secret),))
        self._store.rows("UPDATE codes SET used = 1 WHERE hash = ?", (digest(secret),))
        return _code(rows[0]) if rows else None

    def put_refresh_token(self, secret: str, token: RefreshToken) -> None:
        """Store a refresh token."""
        values = (digest(secret), token.sign_in_id, token.expires_s, int(token.used))
        self._store.rows("INSERT INTO refresh_tokens VALUES (?, ?, ?, ?)", values)

    def refresh_token(self, secret: str) -> RefreshToken | None:
        """Return a refresh token, or None."""
        rows = self._store.rows("SELECT * FROM refresh_tokens WHERE hash = ?", (digest(secret),))
        return RefreshToken(sign_in_id=rows[0][1], expires_s=rows[0][2], used=bool(rows[0][3])) if rows else None

    def use_refresh_token(self, secret: str) -> None:
        """Mark a refresh token as used."""
        self._store.rows("UPDATE refresh_tokens SET used = 1 WHERE hash = ?", (digest(secret),))

    def put_device(self, secret: str, device: Device) -> None:
        """Store a device that waits; its user code must be none that is in use."""
        scope = None if device.scope is None else json.dumps(device.scope)
        self._store.rows(
            "INSERT INTO devices VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                digest(secret),
                device.user_code,
                device.client_id,
                scope,
                json.dumps(device.audience),
                device.expires_s,
                device.state,
                device.subject,
            ),
        )

    def devices_waiting(self, now_s: float) -> int:
        """Return how many devices were neither forgotten nor given up yet."""
        return int(self._store.rows("SELECT count(*) FROM devices WHERE expires_s > ?", (now_s,))[0][0])

    def device(self, secret: str) -> Device | None:
        """Return the device with this device code, or None."""
        rows = self._store.rows("SELECT * FROM devices WHERE hash = ?", (digest(secret),))
        return _device(rows[0]) if rows else None

    def device_called(self, user_code: str) -> Device | None:
        """Return the device with this user code, or None."""
        rows = self._store.rows("SELECT * FROM devices WHERE user_code = ?", (user_code,))
        return _device(rows[0]) if rows else None

    def decide_device(self, user_code: str, state: DeviceState, subject: str | None) -> bool:
        """Store what a person decided about a device; return whether it still waited for that."""
        query = (
            "UPDATE devices SET state = ?, subject = ? WHERE user_code = ? AND state = 'pending' RETURNING user_code"
        )
        return bool(self._store.rows(query, (state, subject, user_code)))

    def forget_device(self, secret: str) -> bool:
        """Forget a device: its code was used; return whether there was one."""
        return bool(self._store.rows("DELETE FROM devices WHERE hash = ? RETURNING user_code", (digest(secret),)))

    def has_expired(self, before_s: float) -> bool:
        """Return whether there is something to forget."""
        queries = (f"SELECT 1 FROM {table} WHERE expires_s < ? LIMIT 1" for table in _AGING)  # noqa: S608 - names below
        return any(self._store.rows(query, (before_s,)) for query in queries)

    def forget_expired(self, before_s: float) -> None:
        """Forget everything whose time was over before `before_s`."""
        for table in _AGING:
            self._store.rows(f"DELETE FROM {table} WHERE expires_s < ?", (before_s,))  # noqa: S608 - a name below


_USER_COLUMNS = ("name", "tenant", "roles", "password_hash", "disabled", "created_s")
_AGING = ("sign_ins", "codes", "refresh_tokens", "devices", "sign_in_tokens", "assertions")


def _user(row: tuple[Any, ...]) -> User:
    return User(
        name=row[0],
        tenant=row[1],
        roles=tuple(json.loads(row[2])),
        password_hash=row[3],
        disabled=bool(row[4]),
        created_s=row[5],
    )


def _sign_in(row: tuple[Any, ...]) -> SignIn:
    return SignIn(
        sign_in_id=row[0],
        client_id=row[1],
        subject=row[2],
        scope=tuple(json.loads(row[3])),
        audience=tuple(json.loads(row[4])),
        expires_s=row[5],
    )


def _code(row: tuple[Any, ...]) -> Code:
    return Code(sign_in_id=row[1], redirect_uri=row[2], challenge=row[3], expires_s=row[4], used=bool(row[5]))


def _device(row: tuple[Any, ...]) -> Device:
    return Device(
        user_code=row[1],
        client_id=row[2],
        scope=None if row[3] is None else tuple(json.loads(row[3])),
        audience=tuple(json.loads(row[4])),
        expires_s=row[5],
        state=row[6],
        subject=row[7],
    )
