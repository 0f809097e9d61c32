"""Namespaces, in dictionaries."""

from ragrid.services.memory.changes import ANY, Condition, Scope
from ragrid.services.memory.errors import NoNamespaceError
from ragrid.services.memory.inmemory.state import State
from ragrid.services.memory.namespaces import Namespace, PutNamespace, check_version
from ragrid.services.memory.protocol.namespaces import Usage


class InMemoryNamespaces(State):
    """See protocol/namespaces.py."""

    async def namespace(self, scope: Scope) -> Namespace | None:
        """See Namespaces."""
        return self.spaces.get(scope)

    async def namespaces(self, tenant: str, *, limit: int, before: int | None = None) -> tuple[Namespace, ...]:
        """See Namespaces."""
        mine = [one for scope, one in self.spaces.items() if scope.tenant == tenant]
        seen = [one for one in mine if before is None or one.position < before]
        return tuple(sorted(seen, key=lambda one: -one.position)[:limit])

    async def put_namespace(self, put: PutNamespace) -> Namespace:
        """See Namespaces."""
        check_version(self.spaces.get(put.scope), put.condition)
        return self.set_namespace(put)

    async def delete_namespace(self, scope: Scope, *, condition: Condition = ANY) -> None:
        """See Namespaces."""
        current = self.spaces.get(scope)
        if current is None:
            raise NoNamespaceError(f"no namespace {scope.namespace!r}")
        check_version(current, condition)
        self.drop_namespace(scope)

    async def usage(self, tenant: str) -> Usage:
        """See Namespaces."""
        rooms = [one.room for scope, one in self.spaces.items() if scope.tenant == tenant]
        return Usage(len(rooms), sum(one.rows for one in rooms), sum(one.size_bytes for one in rooms))
