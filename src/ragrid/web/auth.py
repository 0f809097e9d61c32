"""Who calls: the bearer token of every request is verified before a route sees it (RFC 6750)."""

from collections.abc import Collection
from typing import Protocol

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from ragrid.identity.claims import Claims
from ragrid.identity.verify import InvalidTokenError
from ragrid.web.problem import Problem

#: Paths that answer without a token. They exist on the private port only; no route of the gateway leads there.
PUBLIC_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})

_NO_TOKEN = {"WWW-Authenticate": 'Bearer realm="ragrid"'}
_BAD_TOKEN = {"WWW-Authenticate": 'Bearer realm="ragrid", error="invalid_token"'}


class Verifier(Protocol):
    """Anything that turns a token into Claims or raises InvalidTokenError; usually a TokenVerifier."""

    def verify(self, token: str) -> Claims:
        """Return what `token` says of its bearer."""
        ...


class Authenticated:
    """ASGI middleware: puts the verified Claims at `request.state.claims`, or raises a 401 Problem.

    `public` names the exact paths that need no token; a token sent there is not looked at.
    """

    def __init__(self, app: ASGIApp, verifier: Verifier, public: Collection[str] = PUBLIC_PATHS) -> None:
        self._app = app
        self._verifier = verifier
        self._public = frozenset(public)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or raise the 401 Problem."""
        if scope["type"] != "lifespan" and scope["path"] not in self._public:
            scope.setdefault("state", {})["claims"] = self._claims(scope)
        await self._app(scope, receive, send)

    def _claims(self, scope: Scope) -> Claims:
        try:
            return self._verifier.verify(_bearer_token(scope))
        except InvalidTokenError as error:
            raise Problem(401, "invalid-token", str(error), headers=_BAD_TOKEN) from error


def claims_of(request: Request) -> Claims:
    """Return who calls; only for routes behind `Authenticated` that are not public."""
    claims: Claims = request.scope["state"]["claims"]
    return claims


def require(request: Request, permission: str) -> Claims:
    """Return who calls when the token allows `permission`, a `service:action`; else raise a 403 Problem."""
    claims: Claims = request.scope["state"]["claims"]
    if permission not in claims.permissions:
        challenge = f'Bearer realm="ragrid", error="insufficient_scope", scope="{permission}"'
        detail = f"the token lacks {permission!r}; ask for a token of a role that holds it"
        raise Problem(403, "insufficient-scope", detail, headers={"WWW-Authenticate": challenge})
    return claims


def _bearer_token(scope: Scope) -> str:
    """Return the one bearer token of the request; two Authorization headers are refused, not chosen from."""
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    if not found:
        raise Problem(401, "unauthorized", "send `Authorization: Bearer TOKEN`", headers=_NO_TOKEN)
    if len(found) > 1 or found[0][:7].lower() != b"bearer ":
        raise Problem(401, "invalid-token", "wanted one header `Authorization: Bearer TOKEN`", headers=_BAD_TOKEN)
    token: str = found[0][7:].decode("latin-1")
    return token
