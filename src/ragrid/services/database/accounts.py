"""Roles and databases: one of each for every account, the database closed to all others."""

import base64
import hashlib
import hmac
import logging
import secrets

import asyncpg

from ragrid.errors import StateError
from ragrid.services.database.configuration import quoted
from ragrid.spec.settings import DatabaseAccount

logger = logging.getLogger(__name__)

#: PostgreSQL's own default; passwords of ours have 256 bits, so a slow hash protects nothing.
ITERATIONS = 4096


async def ensure_accounts(
    connection: "asyncpg.Connection[asyncpg.Record]", accounts: tuple[DatabaseAccount, ...]
) -> None:
    """Make what is missing, and give every role the password that its file holds; as superuser, outside a transaction.

    Raises StateError for a password file that cannot be read.
    """
    for account in accounts:
        name = f'"{account.name}"'
        if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", account.name):
            await connection.execute(f"CREATE ROLE {name} LOGIN")
        await connection.execute(f"ALTER ROLE {name} PASSWORD {quoted(verifier_of(_password(account)))}")
        if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", account.name):
            await connection.execute(f"CREATE DATABASE {name} OWNER {name} TEMPLATE template0 ENCODING 'UTF8'")
            logger.info("database made", extra={"database": account.name})
        await connection.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")


def verifier_of(password: str, *, salt: bytes | None = None) -> str:
    """Return what the server keeps of a password (RFC 5803, SCRAM-SHA-256), so that it never sees the password."""
    salt = secrets.token_bytes(16) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ITERATIONS)
    client = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    text = [base64.b64encode(each).decode() for each in (salt, client, server)]
    return f"SCRAM-SHA-256${ITERATIONS}:{text[0]}${text[1]}:{text[2]}"


def _password(account: DatabaseAccount) -> str:
    try:
        return account.password_file.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise StateError(f"{account.password_file}: {error}; wanted the password of {account.name!r}") from error
