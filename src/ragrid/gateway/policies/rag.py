"""The routes of the rag service. Pure."""

from ragrid.gateway.route import MIB, WRITING, Route, ServicePolicy, read_route

RAG = ServicePolicy(
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
        read_route("read", "/rag/v1/**", "rag:read"),
        Route(
            name="write",
            methods=WRITING,
            path="/rag/v1/**",
            permission="rag:write",
            body_limit_bytes=64 * MIB,
            read_timeout_s=600.0,
        ),
    ),
)
