"""Namespaces, in SQLite."""

import apsw

from ragrid.services.memory.changes import ANY, Condition, Scope
from ragrid.services.memory.namespaces import Namespace, PutNamespace
from ragrid.services.memory.protocol.namespaces import Usage
from ragrid.services.memory.sqlite.connections import Connections
from ragrid.services.memory.sqlite.files import fetch
from ragrid.services.memory.sqlite.queries import USAGE, namespace_of, namespace_statement, namespaces_statement
from ragrid.services.memory.sqlite.writing.namespaces import delete_namespace, put_namespace


class SqliteNamespaces(Connections):
    """See protocol/namespaces.py."""

    async def namespace(self, scope: Scope) -> Namespace | None:
        """See Namespaces."""

        def work(reader: apsw.Connection) -> Namespace | None:
            rows = fetch(reader, *namespace_statement(scope))
            return namespace_of(rows[0]) if rows else None

        return await self.in_pool(work)

    async def namespaces(self, tenant: str, *, limit: int, before: int | None = None) -> tuple[Namespace, ...]:
        """See Namespaces."""
        statement = namespaces_statement(tenant, limit=limit, before=before)
        return await self.in_pool(lambda reader: tuple(namespace_of(row) for row in fetch(reader, *statement)))

    async def put_namespace(self, put: PutNamespace) -> Namespace:
        """See Namespaces."""
        done: Namespace = await self.writer.submit(lambda transaction: put_namespace(transaction, put))
        return done

    async def delete_namespace(self, scope: Scope, *, condition: Condition = ANY) -> None:
        """See Namespaces."""
        await self.writer.submit(lambda transaction: delete_namespace(transaction, scope, condition), makes_room=True)
        self.forget_number(scope)

    async def usage(self, tenant: str) -> Usage:
        """See Namespaces."""
        return await self.in_pool(lambda reader: Usage(*fetch(reader, USAGE, (tenant,))[0]))
