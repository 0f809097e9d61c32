"""The tables of the token service's file, and the steps that brought them to what they are."""

import apsw

from ragrid.errors import StateError

#: Marks the file as ours ("rgTK"); another program's SQLite file is refused.
APPLICATION_ID = 0x7267544B

#: Step n brings a file from format n to n + 1; an empty file takes all of them. A released step never changes.
_STEPS = (
    """
CREATE TABLE clients (
  client_id TEXT PRIMARY KEY, tenant TEXT NOT NULL, roles TEXT NOT NULL, secret_hash BLOB NOT NULL,
  declared INTEGER NOT NULL, created_s REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE revocations (token_id TEXT PRIMARY KEY, expires_s REAL NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE signing_keys (
  kid TEXT PRIMARY KEY, state TEXT NOT NULL, created_s REAL NOT NULL, activated_s REAL, retired_s REAL,
  public_jwk TEXT NOT NULL, private_jwk TEXT
) STRICT, WITHOUT ROWID;
CREATE TABLE audit (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at_s REAL NOT NULL, event TEXT NOT NULL, client_id TEXT, token_id TEXT,
  expires_s REAL, details TEXT NOT NULL
) STRICT;
CREATE INDEX audit_live ON audit (client_id, expires_s) WHERE event = 'token-issued';
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END;
""",
    """
CREATE TABLE watermarks (
  kind TEXT NOT NULL, name TEXT NOT NULL, not_before_s REAL NOT NULL, PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
ALTER TABLE audit ADD COLUMN subject TEXT;
DROP INDEX audit_live;
CREATE INDEX audit_time ON audit (at_s);
""",
    """
ALTER TABLE clients ADD COLUMN redirect_uris TEXT NOT NULL DEFAULT '[]';
ALTER TABLE clients ADD COLUMN public INTEGER NOT NULL DEFAULT 0;
CREATE TABLE users (
  name TEXT PRIMARY KEY, tenant TEXT NOT NULL, roles TEXT NOT NULL, password_hash TEXT NOT NULL,
  disabled INTEGER NOT NULL, created_s REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE sign_ins (
  sign_in_id TEXT PRIMARY KEY, client_id TEXT NOT NULL, subject TEXT NOT NULL, scope TEXT NOT NULL,
  audience TEXT NOT NULL, expires_s REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sign_ins_subject ON sign_ins (subject);
CREATE INDEX sign_ins_client ON sign_ins (client_id);
CREATE TABLE codes (
  hash BLOB PRIMARY KEY, sign_in_id TEXT NOT NULL, redirect_uri TEXT NOT NULL, challenge TEXT NOT NULL,
  expires_s REAL NOT NULL, used INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE refresh_tokens (
  hash BLOB PRIMARY KEY, sign_in_id TEXT NOT NULL, expires_s REAL NOT NULL, used INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX refresh_tokens_sign_in ON refresh_tokens (sign_in_id);
CREATE TABLE devices (
  hash BLOB PRIMARY KEY, user_code TEXT NOT NULL UNIQUE, client_id TEXT NOT NULL, scope TEXT, audience TEXT NOT NULL,
  expires_s REAL NOT NULL, state TEXT NOT NULL, subject TEXT
) STRICT, WITHOUT ROWID;
CREATE TABLE sign_in_tokens (
  token_id TEXT PRIMARY KEY, sign_in_id TEXT NOT NULL, expires_s REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sign_in_tokens_sign_in ON sign_in_tokens (sign_in_id);
""",
    """
ALTER TABLE clients ADD COLUMN jwks TEXT NOT NULL DEFAULT '';
CREATE TABLE assertions (
  client_id TEXT NOT NULL, token_id TEXT NOT NULL, expires_s REAL NOT NULL, PRIMARY KEY (client_id, token_id)
) STRICT, WITHOUT ROWID;
""",
    """
CREATE TABLE form_keys (name TEXT PRIMARY KEY, key BLOB NOT NULL) STRICT, WITHOUT ROWID;
""",
    """
CREATE TABLE attempts (
  name_hash BLOB PRIMARY KEY, failures INTEGER NOT NULL, failed_s REAL NOT NULL, until_s REAL NOT NULL
) STRICT, WITHOUT ROWID;
""",
)
VERSION = len(_STEPS)


def check(connection: apsw.Connection, where: str) -> None:
    """Raise StateError unless the file is empty or ours and whole; only reads."""
    connection.set_busy_timeout(2000)
    application_id, version = connection.pragma("application_id"), connection.pragma("user_version")
    if connection.execute("SELECT count(*) FROM sqlite_schema").get == 0 and application_id == 0:
        return
    if application_id != APPLICATION_ID:
        raise StateError(f"{where}: a database of another program; move it away, or choose another data directory")
    if not 1 <= version <= VERSION:
        raise StateError(f"{where}: format {version}, this release reads 1 to {VERSION}; run the release that wrote it")
    found = connection.execute("PRAGMA quick_check(1)").get
    if found != "ok":
        raise StateError(f"{where}: damaged: {found}; restore it from a backup; it was not changed")


def prepare(connection: apsw.Connection) -> None:
    """Set what holds for each connection, and bring the tables up to date: all steps or none."""
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "FULL")
    connection.pragma("secure_delete", True)
    connection.pragma("trusted_schema", False)
    version = int(connection.pragma("user_version"))
    if version == VERSION:
        return
    with connection:
        for step in _STEPS[version:]:
            connection.execute(step)
        connection.pragma("application_id", APPLICATION_ID)
        connection.pragma("user_version", VERSION)
