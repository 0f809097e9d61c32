"""Namespaces: their settings, what is in them, and their end."""

from typing import Protocol

import msgspec

from ragrid.services.memory.changes import ANY, Condition, Scope
from ragrid.services.memory.namespaces import Namespace, PutNamespace


class Usage(msgspec.Struct, frozen=True):
    """What a tenant has: namespaces, live memories (swept or not), and the bytes of their documents."""

    namespaces: int
    rows: int
    size_bytes: int


class Namespaces(Protocol):
    """The namespaces of tenants. The first write into one makes it."""

    async def namespace(self, scope: Scope) -> Namespace | None:
        """Return a namespace, or None when nothing ever made it."""
        ...

    async def namespaces(self, tenant: str, *, limit: int, before: int | None = None) -> tuple[Namespace, ...]:
        """Return up to `limit` namespaces made before position `before`, newest first."""
        ...

    async def put_namespace(self, put: PutNamespace) -> Namespace:
        """Make a namespace or replace its settings, which hold for every change from then on; version 1: it is new.

        Raises VersionError, StoreBusyError or StoreFullError.
        """
        ...

    async def delete_namespace(self, scope: Scope, *, condition: Condition = ANY) -> None:
        """Erase a namespace with all that is in it and all its history; from then on there is none of that name.

        It is out of sight when this returns; `sweep` frees its room. Raises NoNamespaceError, VersionError or
        StoreBusyError.
        """
        ...

    async def usage(self, tenant: str) -> Usage:
        """Return what a tenant has."""
        ...
