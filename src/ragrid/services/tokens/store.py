"""Everything the token service must not forget, in one SQLite file: clients, revocations, keys, audit log.

Durable before answered: WAL with `synchronous=FULL`, so a committed change survives SIGKILL and power loss. For one
thread at a time.
"""

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import apsw
import msgspec

from ragrid.errors import RagridError, StateError, UnreachableError
from ragrid.services.tokens.clients import Client
from ragrid.services.tokens.keyring import KeyPair, StoredKey
from ragrid.services.tokens.rotation import KeyRecord
from ragrid.services.tokens.schema import check, prepare
from ragrid.system.files import PRIVATE

logger = logging.getLogger(__name__)

FILE_NAME = "tokens.sqlite3"
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
    """The open file. Every change happens inside `change()`; reads may happen anywhere."""

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path

    @contextlib.contextmanager
    def change(self) -> Iterator[None]:
        """Make the block one durable change: all of it is on disk when this ends, or none of it.

        Raises UnreachableError when the disk is full or busy, StateError when the file is damaged.
        """
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._rollback()
                raise
            self._commit()
        except apsw.Error as error:
            raise _translated(error, self.path) from error

    def _commit(self) -> None:
        try:
            self._connection.execute("COMMIT")
        except apsw.Error:
            self._rollback()
            raise

    def _rollback(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def clients(self) -> list[Client]:
        """Return all clients by name."""
        return [_client(row) for row in self.rows("SELECT * FROM clients ORDER BY client_id")]

    def client(self, client_id: str) -> Client | None:
        """Return one client, or None."""
        rows = self.rows("SELECT * FROM clients WHERE client_id = ?", (client_id,))
        return _client(rows[0]) if rows else None

    def put_client(self, client: Client) -> None:
        """Store a client, in the place of one of the same name."""
        self._connection.execute(
            "INSERT OR REPLACE INTO clients VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
        self._connection.execute("DELETE FROM clients WHERE client_id = ?", (client_id,))

    def revocations(self) -> dict[str, float]:
        """Return the expiry of every revoked token by its id."""
        return {row[0]: row[1] for row in self.rows("SELECT token_id, expires_s FROM revocations")}

    def revoke(self, token_id: str, expires_s: float) -> None:
        """Remember that a token is not good any more; twice is once."""
        self._connection.execute("INSERT OR IGNORE INTO revocations VALUES (?, ?)", (token_id, expires_s))

    def forget_revocations(self, before_s: float) -> None:
        """Forget the revocations of tokens that expired before `before_s`."""
        self._connection.execute("DELETE FROM revocations WHERE expires_s < ?", (before_s,))

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
        self._connection.execute(
            "INSERT INTO watermarks VALUES (?, ?, ?) ON CONFLICT (kind, name) DO UPDATE"
            " SET not_before_s = max(not_before_s, excluded.not_before_s)",
            (kind, name, not_before_s),
        )

    def forget_watermarks(self, before_s: float) -> None:
        """Forget the watermarks from before a time."""
        self._connection.execute("DELETE FROM watermarks WHERE not_before_s < ?", (before_s,))

    def remember_assertion(self, client_id: str, token_id: str, expires_s: float) -> bool:
        """Remember that a client has used an assertion; return whether it is the first time."""
        query = "INSERT OR IGNORE INTO assertions VALUES (?, ?, ?) RETURNING token_id"
        return bool(self.rows(query, (client_id, token_id, expires_s)))

    def keys(self) -> list[StoredKey]:
        """Return all signing keys."""
        return [_key(row) for row in self.rows("SELECT * FROM signing_keys ORDER BY kid")]

    def replace_keys(self, keys: Sequence[StoredKey]) -> None:
        """Put these keys in the place of all others."""
        self._connection.execute("DELETE FROM signing_keys")
        for key in keys:
            record, pair = key.record, key.pair
            self._connection.execute(
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

    def scrub(self) -> None:
        """Empty the write-ahead log, so that no private half lingers in it; waits for nobody."""
        with contextlib.suppress(apsw.BusyError):
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def audit(self, event: AuditEvent) -> None:
        """Append one line to the audit log; its `id` is given by the store."""
        self._connection.execute(
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
        rows = self.rows(
            "SELECT id, at_s, event, client_id, token_id, expires_s, details, subject FROM audit"
            " WHERE id > ?1 AND at_s >= ?2 AND (?3 IS NULL OR client_id = ?3 OR subject = ?3) ORDER BY id LIMIT ?4",
            (wanted.after, wanted.since_s, wanted.name, limit),
        )
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
        """Close the file; what was committed is in it."""
        self._connection.close()

    def rows(self, query: str, bindings: Sequence[str | float | bytes | None] = ()) -> list[tuple[Any, ...]]:
        """Run one statement of the files beside this one, and return what it found."""
        try:
            return self._connection.execute(query, bindings).fetchall()
        except apsw.Error as error:
            raise _translated(error, self.path) from error


def open_store(directory: Path) -> Store:
    """Open the store in `directory`, made with mode 0700 (the file 0600) when it is not there.

    Raises StateError naming the file when it holds something that we did not leave there; it is not touched then.
    """
    make_private(directory)
    path = directory / FILE_NAME
    path.touch(mode=PRIVATE, exist_ok=True)
    if path.stat().st_mode & 0o077:
        logger.warning("the store was readable by others; its mode is 0600 again", extra={"file": str(path)})
        path.chmod(PRIVATE)
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            check(connection, str(path))
            prepare(connection)
        except BaseException:
            connection.close()
            raise
    except apsw.Error as error:
        raise _translated(error, path) from error
    return Store(connection, path)


def make_private(directory: Path) -> None:
    """Make `directory` one that only its owner can enter; raises StateError when that cannot be."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        directory.chmod(0o700)
    except OSError as error:
        raise StateError(f"{directory}: {error.strerror}; wanted a directory of our own") from error


def _translated(error: apsw.Error, path: Path) -> RagridError:
    if isinstance(error, apsw.NotADBError | apsw.CorruptError):
        return StateError(f"{path}: damaged: {error}; restore it from a backup; it was not changed")
    return UnreachableError(f"{path}: {error}; look at the disk's free space and the file's owner")


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
