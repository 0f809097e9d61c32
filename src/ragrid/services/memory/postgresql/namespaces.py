"""Namespaces, in PostgreSQL."""

import asyncpg
import msgspec

from ragrid.services.memory.changes import ANY, Condition, Scope
from ragrid.services.memory.embedding.sources import Turn, turn_of
from ragrid.services.memory.errors import NoNamespaceError
from ragrid.services.memory.namespaces import DEFAULTS, Namespace, PutNamespace, check_version
from ragrid.services.memory.postgresql.connections import Connections
from ragrid.services.memory.postgresql.lanes import Job
from ragrid.services.memory.postgresql.rooms import ROOM_COLUMNS, room_of
from ragrid.services.memory.postgresql.transaction import Transaction
from ragrid.services.memory.postgresql.vectors import STAMPS
from ragrid.services.memory.protocol.namespaces import Usage

NAMESPACE_COLUMNS = f"name, number, version, created_us, updated_us, updated_by, {ROOM_COLUMNS}"
_ONE = f"SELECT {NAMESPACE_COLUMNS} FROM namespace WHERE tenant = $1 AND name = $2"  # noqa: S608 - our own words
_SEVERAL = f"""
SELECT {NAMESPACE_COLUMNS} FROM namespace WHERE tenant = $1 AND number < $2 ORDER BY number DESC LIMIT $3
"""  # noqa: S608 - our own words
_USAGE = """
SELECT count(*), coalesce(sum(rows), 0)::bigint, coalesce(sum(size_bytes), 0)::bigint
FROM namespace WHERE tenant = $1
"""
_PUT = f"""
INSERT INTO namespace AS n (tenant, name, created_us, settings, updated_us, updated_by)
VALUES ($1, $2, $3, $4, $3, $5)
ON CONFLICT (tenant, name) DO UPDATE SET settings = excluded.settings, version = n.version + 1,
  updated_us = excluded.updated_us, updated_by = excluded.updated_by
RETURNING {NAMESPACE_COLUMNS}
"""  # noqa: S608 - our own words

#: A namespace of a million memories takes longer than any other statement.
_PATIENCE_S = 600
_LONG = f"SET LOCAL statement_timeout = '{_PATIENCE_S}s'"
_NO_OUTBOX = "DELETE FROM embedding_outbox WHERE tenant = $1 AND namespace = $2"
_NO_MADE = "DELETE FROM memory_vector WHERE tenant = $1 AND namespace = $2 AND model > 0"
_NO_BROUGHT = "DELETE FROM memory_vector WHERE tenant = $1 AND namespace = $2 AND model < 0"
_NOTHING_BROUGHT = """
UPDATE namespace SET brought_model = NULL, brought_dimension = NULL WHERE tenant = $1 AND name = $2
"""
_FILL = """
INSERT INTO embedding_outbox (tenant, position, model, namespace, digest, since_us, next_us)
SELECT $1, m.position, e.number, $2, '', $3, $3
FROM memory AS m CROSS JOIN (SELECT number FROM embedding_model WHERE state IN ('active', 'filling')) AS e
WHERE m.tenant = $1 AND m.namespace = $2 AND NOT m.is_deleted AND NOT EXISTS (
  SELECT FROM memory_vector AS v WHERE v.tenant = $1 AND v.position = m.position AND v.model = e.number
)
ON CONFLICT DO NOTHING
"""
_ERASE = (
    """
    DELETE FROM memory_words AS w USING memory AS m
    WHERE m.tenant = $1 AND m.namespace = $2 AND w.tenant = $1 AND w.position = m.position
    """,
    "DELETE FROM memory_vector WHERE tenant = $1 AND namespace = $2",
    _NO_OUTBOX,
    "DELETE FROM memory WHERE tenant = $1 AND namespace = $2",
    "DELETE FROM memory_event WHERE tenant = $1 AND namespace = $2",
    "DELETE FROM session_message WHERE tenant = $1 AND namespace = $2",
    "DELETE FROM session WHERE tenant = $1 AND namespace = $2",
    "DELETE FROM session_append WHERE tenant = $1 AND namespace = $2",
    """
    UPDATE tenant AS t SET rows = t.rows - n.rows FROM namespace AS n
    WHERE t.tenant = $1 AND n.tenant = $1 AND n.name = $2
    """,
    "DELETE FROM namespace WHERE tenant = $1 AND name = $2",
)

_encode = msgspec.json.Encoder().encode


class PostgresNamespaces(Connections):
    """See protocol/namespaces.py."""

    async def namespace(self, scope: Scope) -> Namespace | None:
        """See Namespaces."""
        rows = await self.rows(scope.tenant, _ONE, scope.tenant, scope.namespace)
        return namespace_of(rows[0]) if rows else None

    async def namespaces(self, tenant: str, *, limit: int, before: int | None = None) -> tuple[Namespace, ...]:
        """See Namespaces."""
        rows = await self.rows(tenant, _SEVERAL, tenant, before if before is not None else 2**62, limit)
        return tuple(namespace_of(row) for row in rows)

    async def put_namespace(self, put: PutNamespace) -> Namespace:
        """See Namespaces."""
        job = Job(lambda transaction: put_namespace(transaction, put), patience_s=_PATIENCE_S)
        done: Namespace = await self.writer.submit(put.scope.tenant, job)
        return done

    async def delete_namespace(self, scope: Scope, *, condition: Condition = ANY) -> None:
        """See Namespaces. All of it goes in one transaction; the tenant's other writes wait as long."""
        job = Job(lambda transaction: _delete(transaction, scope, condition), patience_s=_PATIENCE_S)
        await self.writer.submit(scope.tenant, job)

    async def usage(self, tenant: str) -> Usage:
        """See Namespaces."""
        return Usage(*(await self.rows(tenant, _USAGE, tenant))[0])


async def put_namespace(transaction: Transaction, put: PutNamespace) -> Namespace:
    """Make a namespace or replace its settings. Raises VersionError before anything of it is written."""
    await transaction.flush()
    key = (put.scope.tenant, put.scope.namespace)
    current = await current_namespace(transaction, put.scope)
    check_version(current, put.condition)
    row = await transaction.connection.fetchrow(_PUT, *key, put.at_us, _encode(put.settings), put.actor)
    if row is None:
        raise AssertionError("an upsert returns its row")
    namespace = namespace_of(row)
    turn = turn_of(DEFAULTS.embedder if current is None else current.room.settings.embedder, put.settings.embedder)
    if turn is not None:
        await _follow_settings(transaction.connection, put, turn)
        if not turn.keeps_brought:
            namespace = msgspec.structs.replace(namespace, room=msgspec.structs.replace(namespace.room, brought=None))
    transaction.workspace.put_room(namespace.name, namespace.room)
    return namespace


async def _follow_settings(connection: asyncpg.Connection, put: PutNamespace, turn: Turn) -> None:
    """Let outbox and vectors follow a setting that was changed, all of them at once."""
    key = (put.scope.tenant, put.scope.namespace)
    await connection.execute(_LONG)
    if not turn.keeps_made:
        for sql in (_NO_OUTBOX, _NO_MADE):
            await connection.execute(sql, *key, timeout=_PATIENCE_S)
    if not turn.keeps_brought:
        await connection.execute(_NO_BROUGHT, *key, timeout=_PATIENCE_S)
        await connection.execute(_NOTHING_BROUGHT, *key)
    await connection.execute(STAMPS, put.scope.tenant, 1)  # those who keep an index see that something happened
    if turn.is_filled:
        await connection.execute(_FILL, *key, put.at_us, timeout=_PATIENCE_S)
    await connection.execute("SET LOCAL statement_timeout TO DEFAULT")


async def _delete(transaction: Transaction, scope: Scope, condition: Condition) -> None:
    await transaction.flush()
    current = await current_namespace(transaction, scope)
    if current is None:
        raise NoNamespaceError(f"no namespace {scope.namespace!r}")
    check_version(current, condition)
    connection = transaction.connection
    await connection.execute(_LONG)
    for sql in _ERASE:
        await connection.execute(sql, scope.tenant, scope.namespace, timeout=_PATIENCE_S)
    await connection.execute("SET LOCAL statement_timeout TO DEFAULT")
    transaction.begin_anew(changed=(scope.namespace,))


async def current_namespace(transaction: Transaction, scope: Scope) -> Namespace | None:
    """Return a namespace as it stands."""
    row = await transaction.connection.fetchrow(_ONE, scope.tenant, scope.namespace)
    return None if row is None else namespace_of(row)


def namespace_of(row: asyncpg.Record) -> Namespace:
    """Return the namespace in a row of NAMESPACE_COLUMNS."""
    name, number, version, created_us, updated_us, updated_by, *room = row
    return Namespace(name, number, room_of(room), version, created_us, updated_us, updated_by)
