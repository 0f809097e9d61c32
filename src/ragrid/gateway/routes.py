"""The policy table: every request that the edge lets through, and what it asks of the caller. Pure.

First match wins, and what no route names is refused (404; 405 when only the method is wrong). A path is a literal with
`{name}` for one segment and a final `/**` for at least one more. `{tenant}` must equal the tenant of the token.
"""

from collections.abc import Mapping

from ragrid.gateway.route import MIB, Permission, Route, ServicePolicy

KIB = 1024


def _read(
    name: str, path: str, permission: Permission, *, read_timeout_s: float = 60.0, is_held: bool = False
) -> Route:
    return Route(
        name=name,
        methods=("GET", "HEAD"),
        path=path,
        permission=permission,
        idempotent=True,
        read_timeout_s=read_timeout_s,
        is_held=is_held,
    )


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
_CHROMADB = ServicePolicy(
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
        _read("collection_by_id", f"{_COLLECTIONS}/by-id/{{collection}}", "chromadb:read"),
        _read("get_collection", _COLLECTION, "chromadb:read"),
        _owned("update_collection", "PUT", "", "chromadb:write"),
        _chroma("delete_collection", "DELETE", _COLLECTION, "chromadb:write"),
        _read("list_collections", _COLLECTIONS, "chromadb:read"),
        _chroma("create_collection", "POST", _COLLECTIONS, "chromadb:write"),
        _read("count_collections", f"{_DATABASES}/{{database}}/collections_count", "chromadb:read"),
        _read("get_database", f"{_DATABASES}/{{database}}", "chromadb:read"),
        _chroma("delete_database", "DELETE", f"{_DATABASES}/{{database}}", "chromadb:admin"),
        _read("list_databases", _DATABASES, "chromadb:read"),
        _chroma("create_database", "POST", _DATABASES, "chromadb:admin"),
        _read("get_tenant", "/api/v2/tenants/{tenant}", "chromadb:read"),
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
        _read("heartbeat", "/api/v2/heartbeat", "chromadb:read"),
        _read("root", "/api/v2", "chromadb:read"),
        _read("version", "/api/v2/version", "chromadb:read"),
        _read("preflight", "/api/v2/pre-flight-checks", "chromadb:read"),
        _read("healthcheck", "/api/v2/healthcheck", "chromadb:read"),
    ),
)


def _infer(name: str, path: str) -> Route:
    """A call of the OpenAI API: safe to replay until its first byte is on the way to the caller."""
    return Route(
        name=name,
        methods=("POST",),
        path=path,
        permission="vllm:infer",
        idempotent=True,
        streaming=True,
        body_limit_bytes=32 * MIB,
        read_timeout_s=600.0,
        is_metered=True,
    )


#: An allowlist: vLLM leaves /tokenize, /sleep, /update_weights and more open to anybody. Stored responses
#: (GET /v1/responses/{id}) are closed, because vLLM does not bind them to a caller.
_VLLM = ServicePolicy(
    name="vllm",
    prefixes=("/v1",),
    health_path="/health",
    forwards_authorization=False,
    routes=(
        _infer("chat", "/v1/chat/completions"),
        _infer("completions", "/v1/completions"),
        _infer("embeddings", "/v1/embeddings"),
        _infer("responses", "/v1/responses"),
        _read("models", "/v1/models", "vllm:infer"),
        # `/**`: the names of models hold slashes (Qwen/Qwen3-8B)
        _read("model", "/v1/models/**", "vllm:infer"),
    ),
)

_WRITES = ("DELETE", "PATCH", "POST", "PUT")


#: The memory service's own limits of a body (services/memory); a test compares them.
_MEMORY_BODY_BYTES = 512 * KIB
_MEMORY_IMPORT_BYTES = 64 * MIB
_MEMORY_BATCH_BYTES = 8 * MIB

_MEMORY = ServicePolicy(
    name="memory",
    prefixes=("/memory/v1", "/mcp"),
    health_path="/healthz",
    forwards_authorization=True,
    routes=(
        Route(
            name="search",
            methods=("POST",),
            path="/memory/v1/memories/search",
            permission="memory:read",
            idempotent=True,
            body_limit_bytes=_MEMORY_BODY_BYTES,
            read_timeout_s=30.0,
        ),
        Route(
            name="context",
            methods=("POST",),
            path="/memory/v1/context",
            permission="memory:read",
            idempotent=True,
            body_limit_bytes=_MEMORY_BODY_BYTES,
            read_timeout_s=30.0,
        ),
        # long poll and server-sent events; the service tells nginx itself not to buffer the latter
        _read("changes", "/memory/v1/changes", "memory:read", is_held=True),
        _read("changes_stream", "/memory/v1/changes/stream", "memory:read", is_held=True),
        # as long as there is something to send or to take; nothing of an export is buffered either
        _read("export", "/memory/v1/export", "memory:read", is_held=True),
        Route(
            name="import",
            methods=("POST",),
            path="/memory/v1/import",
            permission="memory:admin",
            idempotent=True,
            body_limit_bytes=_MEMORY_IMPORT_BYTES,
            read_timeout_s=600.0,
            is_held=True,
        ),
        Route(
            name="batch",
            methods=("POST",),
            path="/memory/v1/memories/batch",
            permission="memory:write",
            body_limit_bytes=_MEMORY_BATCH_BYTES,
        ),
        Route(
            name="namespaces",
            methods=("PUT", "DELETE"),
            path="/memory/v1/namespaces/{name}",
            permission="memory:admin",
            body_limit_bytes=_MEMORY_BODY_BYTES,
        ),
        # nothing is served there yet; what will be must not be open to writers on the day it appears
        Route(
            name="admin",
            methods=("GET", "HEAD", *_WRITES),
            path="/memory/v1/admin/**",
            permission="memory:admin",
            body_limit_bytes=_MEMORY_BODY_BYTES,
        ),
        # Agents and editors. What a tool needs beyond reading, the service asks for; an answer is one JSON document.
        Route(
            name="tools",
            methods=("POST",),
            path="/mcp",
            permission="memory:read",
            body_limit_bytes=_MEMORY_BODY_BYTES,
        ),
        _read("read", "/memory/v1/**", "memory:read"),
        Route(
            name="write",
            methods=_WRITES,
            path="/memory/v1/**",
            permission="memory:write",
            body_limit_bytes=_MEMORY_BODY_BYTES,
        ),
    ),
)

_RAG = ServicePolicy(
    name="rag",
    prefixes=("/rag/v1",),
    health_path="/healthz",
    forwards_authorization=True,
    routes=(
        Route(
            name="ask",
            methods=("POST",),
            path="/rag/v1/ask",
            permission="rag:read",
            idempotent=True,
            streaming=True,
            read_timeout_s=600.0,
        ),
        Route(
            name="search",
            methods=("POST",),
            path="/rag/v1/search",
            permission="rag:read",
            idempotent=True,
        ),
        Route(
            name="rebuild",
            methods=("POST",),
            path="/rag/v1/rebuild",
            permission="rag:admin",
            read_timeout_s=3600.0,
        ),
        _read("read", "/rag/v1/**", "rag:read"),
        Route(
            name="write",
            methods=_WRITES,
            path="/rag/v1/**",
            permission="rag:write",
            body_limit_bytes=64 * MIB,
            read_timeout_s=600.0,
        ),
    ),
)


def _oauth(name: str) -> Route:
    return Route(
        name=name,
        methods=("POST",),
        path=f"/oauth2/{name}",
        permission=None,
        body_limit_bytes=64 * KIB,
        read_timeout_s=30.0,
    )


def _page(name: str) -> Route:
    """Return a page that a browser is sent to, and the form on it."""
    return Route(
        name=name,
        methods=("GET", "POST"),
        path=f"/oauth2/{name}",
        permission=None,
        body_limit_bytes=64 * KIB,
        read_timeout_s=30.0,
    )


_TOKENS = ServicePolicy(
    name="tokens",
    prefixes=("/oauth2", "/.well-known", "/tokens/v1"),
    health_path="/healthz",
    forwards_authorization=True,
    routes=(
        _oauth("token"),
        _oauth("revoke"),
        _oauth("introspect"),
        _oauth("device_authorization"),
        _page("authorize"),
        _page("device"),
        _read("jwks", "/.well-known/jwks.json", None),
        _read("metadata", "/.well-known/oauth-authorization-server", None),
        _read("resource", "/.well-known/oauth-protected-resource/mcp", None),
        Route(
            name="admin",
            methods=("GET", "HEAD", *_WRITES),
            path="/tokens/v1/**",
            permission="tokens:admin",
        ),
    ),
)

#: Every service that the edge knows, by name.
POLICY: Mapping[str, ServicePolicy] = {policy.name: policy for policy in (_CHROMADB, _MEMORY, _RAG, _TOKENS, _VLLM)}
