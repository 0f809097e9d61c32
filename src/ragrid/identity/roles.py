"""Roles are lists of `service:action`; these are the ones that every grid starts with."""

from collections.abc import Mapping

#: Chroma's own clients ask for this tenant when they are told nothing, so an unmodified client works with any token.
DEFAULT_TENANT = "default_tenant"

_READER = ("chromadb:read", "memory:read", "rag:read", "vllm:infer")
_WRITER = (*_READER, "chromadb:write", "memory:write", "rag:write")
_ADMIN = (*_WRITER, "chromadb:admin", "memory:admin", "rag:admin", "tokens:admin", "vllm:admin")

#: People are reader, writer or admin; the `-service` roles are the identities that services call each other with.
BUILTIN_ROLES: Mapping[str, tuple[str, ...]] = {
    "reader": _READER,
    "writer": _WRITER,
    "admin": _ADMIN,
    "chromadb-service": ("chromadb:read", "chromadb:write"),
    "memory-service": ("memory:read", "memory:write"),
    "vllm-service": ("vllm:infer",),
}


def permissions_of(roles: tuple[str, ...], table: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
    """Return everything that any of `roles` allows; a role that the table does not know allows nothing."""
    return frozenset(permission for role in roles for permission in table.get(role, ()))
