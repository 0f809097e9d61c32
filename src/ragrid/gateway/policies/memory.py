"""The routes of the memory service. Pure."""

from ragrid.gateway.route import KIB, MIB, WRITING, Route, ServicePolicy, read_route

#: The memory service's own limits of a body (services/memory); a test compares them.
_BODY_BYTES = 512 * KIB
_IMPORT_BYTES = 64 * MIB
_BATCH_BYTES = 8 * MIB


def _question(name: str, path: str) -> Route:
    """Return a read whose question is too long for an address."""
    return Route(
        name=name,
        methods=("POST",),
        path=path,
        permission="memory:read",
        idempotent=True,
        body_limit_bytes=_BODY_BYTES,
        read_timeout_s=30.0,
    )


MEMORY = ServicePolicy(
    name="memory",
    prefixes=("/memory/v1", "/mcp"),
    health_path="/healthz",
    forwards_authorization=True,
    routes=(
        _question("search", "/memory/v1/memories/search"),
        _question("context", "/memory/v1/context"),
        # long poll and server-sent events; the service tells nginx itself not to buffer the latter
        read_route("changes", "/memory/v1/changes", "memory:read", is_held=True),
        read_route("changes_stream", "/memory/v1/changes/stream", "memory:read", is_held=True),
        # as long as there is something to send or to take; nothing of an export is buffered either
        read_route("export", "/memory/v1/export", "memory:read", is_held=True),
        Route(
            name="import",
            methods=("POST",),
            path="/memory/v1/import",
            permission="memory:admin",
            idempotent=True,
            body_limit_bytes=_IMPORT_BYTES,
            read_timeout_s=600.0,
            is_held=True,
        ),
        Route(
            name="batch",
            methods=("POST",),
            path="/memory/v1/memories/batch",
            permission="memory:write",
            body_limit_bytes=_BATCH_BYTES,
        ),
        Route(
            name="namespaces",
            methods=("PUT", "DELETE"),
            path="/memory/v1/namespaces/{name}",
            permission="memory:admin",
            body_limit_bytes=_BODY_BYTES,
        ),
        # all of it, so that what is added there is closed to writers from its first day
        Route(
            name="admin",
            methods=("GET", "HEAD", *WRITING),
            path="/memory/v1/admin/**",
            permission="memory:admin",
            body_limit_bytes=_BODY_BYTES,
        ),
        # Agents and editors. What a tool needs beyond reading, the service asks for; an answer is one JSON document.
        Route(
            name="tools",
            methods=("POST",),
            path="/mcp",
            permission="memory:read",
            body_limit_bytes=_BODY_BYTES,
        ),
        read_route("read", "/memory/v1/**", "memory:read"),
        Route(
            name="write",
            methods=WRITING,
            path="/memory/v1/**",
            permission="memory:write",
            body_limit_bytes=_BODY_BYTES,
        ),
    ),
)
