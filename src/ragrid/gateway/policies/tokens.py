"""The routes of the token service: OAuth for everybody, and administration. Pure."""

from ragrid.gateway.route import KIB, WRITING, Route, ServicePolicy, read_route


def _oauth(name: str, *, methods: tuple[str, ...] = ("POST",)) -> Route:
    return Route(
        name=name,
        methods=methods,
        path=f"/oauth2/{name}",
        permission=None,
        body_limit_bytes=64 * KIB,
        read_timeout_s=30.0,
    )


def _page(name: str) -> Route:
    """Return a page that a browser is sent to, and the form on it."""
    return _oauth(name, methods=("GET", "POST"))


TOKENS = ServicePolicy(
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
        read_route("jwks", "/.well-known/jwks.json", None),
        read_route("metadata", "/.well-known/oauth-authorization-server", None),
        read_route("resource", "/.well-known/oauth-protected-resource/mcp", None),
        Route(
            name="admin",
            methods=("GET", "HEAD", *WRITING),
            path="/tokens/v1/**",
            permission="tokens:admin",
        ),
    ),
)
