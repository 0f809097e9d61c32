"""One writing transaction of one tenant: lock, load, decide, write, commit; five round trips for a whole batch."""

from collections.abc import Collection, Sequence
from typing import Any

import asyncpg

from ragrid.services.memory.changes import Stored, expire
from ragrid.services.memory.postgresql import statements
from ragrid.services.memory.postgresql.where import plain_of
from ragrid.services.memory.postgresql.workspace import Held, Key, Pending, Request, RequestKey, Workspace


class Transaction:
    """A transaction that holds its tenant's lock. What is decided in `workspace` is written by `flush`."""

    def __init__(self, connection: asyncpg.Connection, workspace: Workspace, number: str) -> None:
        self.connection = connection
        self.workspace = workspace
        #: The server's number for it (`xid8`), which tells later how it ended.
        self.number = number

    @classmethod
    async def begin(cls, connection: asyncpg.Connection, tenant: str) -> "Transaction":
        """Begin, and wait for the tenant's lock."""
        await connection.execute("BEGIN")
        row = await connection.fetchrow(statements.LOCK, tenant)
        if row is None:
            await connection.execute(statements.FIRST, tenant)
            row = await connection.fetchrow(statements.LOCK, tenant)
        if row is None:
            raise AssertionError("a row of counters is never removed")
        seq, number, _ = row
        return cls(connection, Workspace(tenant, seq), number)

    async def load(self, keys: Collection[Key], requests: Collection[RequestKey]) -> None:
        """Read what changes of these memories, under these idempotency keys, will have to know."""
        tenant = self.workspace.tenant
        if keys:
            for row in await self.connection.fetch(statements.CURRENT, tenant, *_columns(keys, 2)):
                self.workspace.hold((row["namespace"], row["id"]), _held(row))
        if requests:
            for row in await self.connection.fetch(statements.REQUESTS, tenant, *_columns(requests, 2)):
                self._know(row)

    async def sweep(self, now_us: int, limit: int) -> int:
        """End up to `limit` memories whose time is over, and forget as many old idempotency keys."""
        workspace = self.workspace
        await self.flush()
        rows = await self.connection.fetch(statements.EXPIRED, workspace.tenant, now_us, limit)
        for row in rows:
            held = _held(row)
            workspace.hold((row["namespace"], row["id"]), held)
            workspace.apply(row["namespace"], [expire(held.stored, row["id"], seq=workspace.seq + 1, at_us=now_us)])
        await self.flush()
        await self.connection.execute(statements.FORGET, workspace.tenant, now_us, limit)
        await self.connection.execute(statements.NEXT_EXPIRY, workspace.tenant)
        return len(rows)

    async def flush(self) -> None:
        """Write what was decided so far."""
        pending = self.workspace.take_pending()
        if not pending.lines:
            return
        tenant = self.workspace.tenant
        if pending.erased:
            await self.connection.execute(statements.ERASE, tenant, *_columns(sorted(pending.erased), 2))
        counts = (self.workspace.seq, pending.live, pending.next_expiry_us)
        await self.connection.execute(statements.WRITE, tenant, *_written(pending), *counts)
        if pending.requests:
            rows = [(*name, one.fingerprint, one.seq, one.expires_us) for name, one in sorted(pending.requests.items())]
            await self.connection.execute(statements.REQUEST, tenant, *_columns(rows, 5))

    async def commit(self) -> None:
        """Make it durable."""
        await self.connection.execute("COMMIT")

    def _know(self, row: asyncpg.Record) -> None:
        key = (row["namespace"], row["id"])
        self.workspace.hold(key, _held(row))
        request = Request(
            fingerprint=row["fingerprint"],
            key=key,
            version=row["made_version"],
            doc=row["made_doc"],
            seq=row["request_seq"],
            expires_us=row["request_expires_us"],
        )
        self.workspace.know((row["subject"], row["key"]), request)


def _held(row: asyncpg.Record) -> Held:
    stored = Stored(
        position=row["position"],
        version=row["version"],
        doc=row["doc"],
        created_us=row["created_us"],
        created_by=row["created_by"],
        expires_us=row["expires_us"],
        is_deleted=row["is_deleted"],
    )
    return Held(stored, row["words"])


def _written(pending: Pending) -> list[list[Any]]:
    """Return the columns of all tables that `WRITE` fills, in its order."""
    rows = []
    for row in pending.rows.values():
        one = row.version
        memory = one.memory
        kinds = (memory.type, _raw(memory.user_id), _raw(memory.agent_id), _raw(memory.session_id)) if memory else ()
        rows.append(
            (row.namespace, one.id, one.position, one.version, one.seq, one.op, memory is None)
            + (kinds or (None, None, None, None))
            + (row.words, one.created_us, one.created_by, one.expires_us, one.doc, plain_of(one.doc))
        )
    lines = [
        (v.seq, line.namespace, v.id, v.version, v.op, v.actor, v.at_us, line.doc)
        for line in pending.lines
        for v in (line.version,)
    ]
    first_us = {line.namespace: line.version.at_us for line in reversed(pending.lines)}
    growth = [(name, first_us[name], one.documents, one.words) for name, one in sorted(pending.growth.items())]
    indexed = sorted(pending.indexed.items())
    return [
        *_columns(rows, 17),
        *_columns(lines, 8),
        sorted(pending.unindexed),
        *_columns(indexed, 2),
        *_columns(growth, 4),
    ]


def _columns(rows: Collection[Sequence[Any]], width: int) -> list[list[Any]]:
    """Return the columns of `rows`, as the server takes them."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


def _raw(text: str | None) -> bytes | None:
    return None if text is None else text.encode()
