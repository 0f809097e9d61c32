"""Everything the token service must not forget: clients, revocations, keys, audit log.

One SQLite file, or one PostgreSQL database that several replicas share; the statements are the same for both. Durable
before answered. For one thread at a time.
"""

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from ragrid.errors import MissingError, StateError
from ragrid.services.tokens.clients import Client
from ragrid.services.tokens.engine import Binding, Engine
from ragrid.services.tokens.keyring import KeyPair, StoredKey
from ragrid.services.tokens.rotation import KeyRecord
from ragrid.services.tokens.sqlite_engine import open_file

#: What a time before which tokens count for nothing can be bound to: a `sub`, or a `client_id`.
Kind = Literal["subject", "client"]


class AuditEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the audit log. `id` grows; times are seconds since 1970."""

    id: int = 0
    at_s: float
    event: str
    client_id: str | None = None
    token_id: str | None = None
    expires_s: float | None = None
    details: Mapping[str, Any] = msgspec.field(default_factory=dict)
    subject: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditQuery:
    """Which lines of the audit log are wanted: those after one id, from one time on, of one client or person."""

    after: int = 0
    since_s: float = 0.0
    name: str | None = None


class Store:
    """The open database. Every change happens inside `change()`; reads may happen anywhere."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def where(self) -> str:
        """The file or address, for messages."""
        return self._engine.where

    def change(self) -> AbstractContextManager[None]:
        """Make the block one durable change that runs alone among all replicas; see `Engine.change`."""
        return self._engine.change()

    def listen(self, heard: Callable[[], object]) -> None:
        """Call `heard`, in whatever thread, after another replica has changed keys or revocations."""
        self._engine.listen(heard)

    def clients(self) -> list[Client]:
        """Return all clients by name."""
        return [_client(row) for row in self.rows("SELECT * FROM clients ORDER BY client_id")]

    def client(self, client_id: str) -> Client | None:
        """Return one client, or None."""
        rows = self.rows("SELECT * FROM clients WHERE client_id = ?", (client_id,))
        return _client(rows[0]) if rows else None

    def put_client(self, client: Client) -> None:
        """Store a client, in the place of one of the same name."""
        self.rows(
            upsert("clients", _CLIENT_COLUMNS),
            (
                client.client_id,
                client.tenant,
                json.dumps(client.roles),
                client.secret_hash,
                int(client.declared),
                client.created_s,
                json.dumps(client.redirect_uris),
                int(client.public),
                client.jwks,
            ),
        )

    def delete_client(self, client_id: str) -> None:
        """Forget a client."""
        self.rows("DELETE FROM clients WHERE client_id = ?", (client_id,))

    def revocations(self) -> dict[str, float]:
        """Return the expiry of every revoked token by its id."""
        return {row[0]: row[1] for row in self.rows("SELECT token_id, expires_s FROM revocations")}

    def revoke(self, token_id: str, expires_s: float) -> None:
        """Remember that a token is not good any more; twice is once."""
        self.rows("INSERT INTO revocations VALUES (?, ?) ON CONFLICT DO NOTHING", (token_id, expires_s))
        self._engine.announce()

    def forget_revocations(self, before_s: float) -> None:
        """Forget the revocations of tokens that expired before `before_s`."""
        self.rows("DELETE FROM revocations WHERE expires_s < ?", (before_s,))

    def tokens_issued(self, kind: Kind, name: str, *, since_s: float) -> dict[str, float]:
        """Return the expiry of every token that a subject or client was issued from a time on, by its id."""
        who = "client_id" if kind == "client" else "coalesce(subject, client_id)"
        query = f"SELECT token_id, expires_s FROM audit WHERE at_s >= ? AND event = 'token-issued' AND {who} = ?"  # noqa: S608 - one of the two lines above
        return {row[0]: row[1] for row in self.rows(query, (since_s, name))}

    def watermarks(self, kind: Kind) -> dict[str, float]:
        """Return the time before which tokens of a subject or client count for nothing, by its name."""
        query = "SELECT name, not_before_s FROM watermarks WHERE kind = ? ORDER BY name"
        return {row[0]: row[1] for row in self.rows(query, (kind,))}

    def put_watermark(self, kind: Kind, name: str, not_before_s: float) -> None:
        """Remember that tokens from before a time count for nothing; an earlier time than the known one is ignored."""
        self.rows(
            "INSERT INTO watermarks VALUES (?, ?, ?) ON CONFLICT (kind, name) DO UPDATE"
            " SET not_before_s = excluded.not_before_s WHERE watermarks.not_before_s < excluded.not_before_s",
            (kind, name, not_before_s),
        )
        self._engine.announce()

    def forget_watermarks(self, before_s: float) -> None:
        """Forget the watermarks from before a time."""
        self.rows("DELETE FROM watermarks WHERE not_before_s < ?", (before_s,))

    def remember_assertion(self, client_id: str, token_id: str, expires_s: float) -> bool:
        """Remember that a client has used an assertion; return whether it is the first time."""
        query = "INSERT INTO assertions VALUES (?, ?, ?) ON CONFLICT DO NOTHING RETURNING token_id"
        return bool(self.rows(query, (client_id, token_id, expires_s)))

    def keys(self) -> list[StoredKey]:
        """Return all signing keys."""
        return [_key(row) for row in self.rows("SELECT * FROM signing_keys ORDER BY kid")]

    def replace_keys(self, keys: Sequence[StoredKey]) -> None:
        """Put these keys in the place of all others."""
        self.rows("DELETE FROM signing_keys")
        self._engine.announce()
        for key in keys:
            record, pair = key.record, key.pair
            self.rows(
                "INSERT INTO signing_keys VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    record.kid,
                    record.state,
                    record.created_s,
                    record.activated_s,
                    record.retired_s,
                    pair.public_jwk,
                    pair.private_jwk,
                ),
            )

    def form_key(self) -> bytes:
        """Return the key that the forms of all replicas are signed with, made at the first call."""
        with self.change():
            fresh = secrets.token_bytes(32)
            self.rows("INSERT INTO form_keys VALUES ('sign-in', ?) ON CONFLICT DO NOTHING", (fresh,))
            ((key,),) = self.rows("SELECT key FROM form_keys WHERE name = 'sign-in'")
        return bytes(key)

    def scrub(self) -> None:
        """Remove retired private halves from where they linger, as far as the database lets itself be told."""
        self._engine.scrub()

    def audit(self, event: AuditEvent) -> None:
        """Append one line to the audit log; its `id` is given by the store."""
        self.rows(
            "INSERT INTO audit (at_s, event, client_id, token_id, expires_s, details, subject)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                event.at_s,
                event.event,
                event.client_id,
                event.token_id,
                event.expires_s,
                json.dumps(event.details),
                event.subject,
            ),
        )

    def audit_lines(self, wanted: AuditQuery, limit: int) -> list[AuditEvent]:
        """Return up to `limit` of the wanted lines, oldest first."""
        condition, names = ("", ()) if wanted.name is None else (_OF_ONE, (wanted.name, wanted.name))
        query = f"SELECT {_AUDIT_COLUMNS} FROM audit WHERE id > ? AND at_s >= ? {condition} ORDER BY id LIMIT ?"  # noqa: S608 - constants
        rows = self.rows(query, (wanted.after, wanted.since_s, *names, limit))
        return [
            AuditEvent(
                id=row[0],
                at_s=row[1],
                event=row[2],
                client_id=row[3],
                token_id=row[4],
                expires_s=row[5],
                details=json.loads(row[6]),
                subject=row[7],
            )
            for row in rows
        ]

    def close(self) -> None:
        """Let go of the database; what was committed is in it."""
        self._engine.close()

    def rows(self, query: str, bindings: Sequence[Binding] = ()) -> list[tuple[Any, ...]]:
        """Run one statement of the files beside this one, and return what it found."""
        return self._engine.rows(query, bindings)


_CLIENT_COLUMNS = (
    "client_id", "tenant", "roles", "secret_hash", "declared", "created_s", "redirect_uris", "public", "jwks",
)  # fmt: skip
_AUDIT_COLUMNS = "id, at_s, event, client_id, token_id, expires_s, details, subject"
_OF_ONE = "AND (client_id = ? OR subject = ?)"


def upsert(table: str, columns: Sequence[str]) -> str:
    """Return the statement that stores one row in the place of another with the same first column."""
    changes = ", ".join(f"{column} = excluded.{column}" for column in columns[1:])
    values = ", ".join("?" for _ in columns)
    row = f"{table} ({', '.join(columns)}) VALUES ({values})"
    return f"INSERT INTO {row} ON CONFLICT ({columns[0]}) DO UPDATE SET {changes}"


def open_store(directory: Path) -> Store:
    """Open the store in `directory`; raises StateError naming the file when it holds something else."""
    return Store(open_file(directory))


def open_shared_store(url_file: Path) -> Store:
    """Open the database whose address `url_file` holds; several processes may.

    Raises StateError for an address that is wrong, UnreachableError for a server that does not answer.
    """
    try:
        from ragrid.services.tokens.postgresql_engine import open_database  # noqa: PLC0415 - only these grids need asyncpg
    except ImportError as error:
        raise MissingError(f"store postgresql: {error}; run `pip install 'ragrid[postgres]'`") from error
    try:
        url = url_file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise StateError(f"{url_file}: {error.strerror}; wanted the address of a database") from error
    return Store(open_database(url))


def _client(row: tuple[Any, ...]) -> Client:
    return Client(
        client_id=row[0],
        tenant=row[1],
        roles=tuple(json.loads(row[2])),
        secret_hash=row[3],
        declared=bool(row[4]),
        created_s=row[5],
        redirect_uris=tuple(json.loads(row[6])),
        public=bool(row[7]),
        jwks=row[8],
    )


def _key(row: tuple[Any, ...]) -> StoredKey:
    return StoredKey(KeyRecord(row[0], row[1], row[2], row[3], row[4]), KeyPair(row[0], row[5], row[6]))
