"""ChromaDB's routes: the whole of its API v2, save what would reach beyond a tenant. Pure."""

from ragrid.gateway.route import MIB, Route, ServicePolicy, read_route

_DATABASES = "/api/v2/tenants/{tenant}/databases"
_COLLECTIONS = _DATABASES + "/{database}/collections"
_COLLECTION = _COLLECTIONS + "/{collection}"
#: ChromaDB's own max_payload_size_bytes; a larger body is refused there anyway.
_CHROMA_BODY_BYTES = 40 * MIB


def _chroma_records(name: str, permission: str, *, idempotent: bool) -> Route:
    return Route(
        name=name,
        methods=("POST",),
        path=f"{_COLLECTION}/{name}",
        permission=permission,
        idempotent=idempotent,
        body_limit_bytes=_CHROMA_BODY_BYTES,
        read_timeout_s=120.0,
        is_owned=True,
    )


def _chroma(name: str, method: str, path: str, permission: str) -> Route:
    return Route(name=name, methods=(method,), path=path, permission=permission)


def _owned(name: str, method: str, tail: str, permission: str) -> Route:
    """A call that names its collection by id, where ChromaDB itself does not look whose it is."""
    methods = ("GET", "HEAD") if method == "GET" else (method,)
    path = _COLLECTION + tail
    return Route(
        name=name, methods=methods, path=path, permission=permission, idempotent=method == "GET", is_owned=True
    )


#: ChromaDB 1.5.9, API v2. Closed on purpose: /reset, /docs, /openapi.json, /api/v1, and /collections/{crn}, whose
#: resource name can name another tenant.
CHROMADB = ServicePolicy(
    name="chromadb",
    prefixes=("/api/v2",),
    health_path="/api/v2/heartbeat",
    forwards_authorization=False,
    routes=(
        _chroma_records("query", "chromadb:read", idempotent=True),
        _chroma_records("get", "chromadb:read", idempotent=True),
        _chroma_records("search", "chromadb:read", idempotent=True),
        _owned("count", "GET", "/count", "chromadb:read"),
        _chroma_records("add", "chromadb:write", idempotent=False),
        _chroma_records("upsert", "chromadb:write", idempotent=True),
        _chroma_records("update", "chromadb:write", idempotent=True),
        _chroma_records("delete", "chromadb:write", idempotent=False),
        _owned("fork_count", "GET", "/fork_count", "chromadb:read"),
        _owned("indexing_status", "GET", "/indexing_status", "chromadb:read"),
        _owned("fork", "POST", "/fork", "chromadb:write"),
        _owned("attach_function", "POST", "/functions/attach", "chromadb:write"),
        _owned("get_function", "GET", "/functions/{name}", "chromadb:read"),
        _owned("detach_function", "POST", "/attached_functions/{name}/detach", "chromadb:write"),
        read_route("collection_by_id", f"{_COLLECTIONS}/by-id/{{collection}}", "chromadb:read"),
        read_route("get_collection", _COLLECTION, "chromadb:read"),
        _owned("update_collection", "PUT", "", "chromadb:write"),
        _chroma("delete_collection", "DELETE", _COLLECTION, "chromadb:write"),
        read_route("list_collections", _COLLECTIONS, "chromadb:read"),
        _chroma("create_collection", "POST", _COLLECTIONS, "chromadb:write"),
        read_route("count_collections", f"{_DATABASES}/{{database}}/collections_count", "chromadb:read"),
        read_route("get_database", f"{_DATABASES}/{{database}}", "chromadb:read"),
        _chroma("delete_database", "DELETE", f"{_DATABASES}/{{database}}", "chromadb:admin"),
        read_route("list_databases", _DATABASES, "chromadb:read"),
        _chroma("create_database", "POST", _DATABASES, "chromadb:admin"),
        read_route("get_tenant", "/api/v2/tenants/{tenant}", "chromadb:read"),
        _chroma("update_tenant", "PATCH", "/api/v2/tenants/{tenant}", "chromadb:admin"),
        _chroma("create_tenant", "POST", "/api/v2/tenants", "chromadb:admin"),
        Route(
            name="identity",
            methods=("GET",),
            path="/api/v2/auth/identity",
            permission="chromadb:read",
            idempotent=True,
            answer="identity",
        ),
        read_route("heartbeat", "/api/v2/heartbeat", "chromadb:read"),
        read_route("root", "/api/v2", "chromadb:read"),
        read_route("version", "/api/v2/version", "chromadb:read"),
        read_route("preflight", "/api/v2/pre-flight-checks", "chromadb:read"),
        read_route("healthcheck", "/api/v2/healthcheck", "chromadb:read"),
    ),
)
