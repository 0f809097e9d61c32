"""Roles and databases: one of each for every account, the database closed to all others."""

import base64
import hashlib
import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable

import asyncpg

from ragrid.errors import StateError
from ragrid.services.database.configuration import quoted
from ragrid.spec.settings import DatabaseAccount

#: Opens a connection to a database, as superuser.
Connect = Callable[[str], Awaitable["asyncpg.Connection[asyncpg.Record]"]]

logger = logging.getLogger(__name__)

#: Whether a role owns anything inside this database.
_OWNS = """
SELECT EXISTS (
  SELECT FROM pg_shdepend AS d JOIN pg_roles AS r ON d.refobjid = r.oid AND d.refclassid = 'pg_authid'::regclass
  WHERE r.rolname = $1 AND d.deptype = 'o' AND d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
)
"""

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


async def ensure_extensions(connect: Connect, accounts: tuple[DatabaseAccount, ...]) -> None:
    """Make the extensions of new databases that the server has; as superuser.

    Only where the account has made nothing yet: what it made could make the extension's script, which runs with every
    right, do something else.
    """
    for account in accounts:
        if not account.extensions:
            continue
        connection = await connect(account.name)
        try:
            if await connection.fetchval(_OWNS, account.name):
                continue
            for name in account.extensions:
                if await connection.fetchval("SELECT true FROM pg_available_extensions WHERE name = $1", name):
                    await connection.execute(f'CREATE EXTENSION IF NOT EXISTS "{name}" SCHEMA public')
        finally:
            await connection.close()


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
