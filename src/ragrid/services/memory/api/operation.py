"""What an operation of the API is: declared once, from which its route, its permission and its description are made."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from ragrid.errors import RagridError
from ragrid.services.memory.api.answers import is_refusal, problem_of
from ragrid.services.memory.api.confinement import check_confinement, namespace_within
from ragrid.services.memory.api.headers import namespace_of
from ragrid.services.memory.changes import Scope
from ragrid.services.memory.model import BODY_BYTES
from ragrid.services.memory.validate import unknown_detail
from ragrid.web.auth import claims_of, require
from ragrid.web.problem import Problem

JSON_TYPE = "application/json"
#: Where a request names its namespace: in the header, or where no header can be sent, in the query string.
NAMESPACE_HEADER = "Memory-Namespace"
NAMESPACE_PARAMETER = "namespace"
MERGE_PATCH_TYPE = "application/merge-patch+json"

#: Takes a request whose caller has the operation's permission; returns an answer (an ASGI application).
Handler = Callable[[Request], Awaitable[ASGIApp]]

#: Refusals that any operation may give; those of one operation are in its `problems`.
COMMON_PROBLEMS = (
    "unknown-parameter",
    "unauthorized",
    "invalid-token",
    "insufficient-scope",
    "token-confined",
    "store-unavailable",
    "stopping",
)
#: Refusals of operations that name a namespace, that write, that read a body, have parameters, and walk through a list.
NAMESPACE_PROBLEMS = ("invalid-namespace", "repeated-header", "namespace-not-found")
WRITE_PROBLEMS = ("overloaded", "store-full")
BODY_PROBLEMS = ("invalid-json", "body-too-large", "unsupported-media-type")
QUERY_PROBLEMS = ("unknown-parameter", "repeated-parameter", "invalid-parameter")
PAGING_PROBLEMS = (*QUERY_PROBLEMS, "invalid-cursor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of an operation; `schema` is a type that msgspec can describe."""

    name: str
    place: Literal["path", "query", "header"]
    schema: Any
    summary: str
    is_required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What an operation takes; `schema` is a type that msgspec can describe."""

    schema: Any
    media_type: str = JSON_TYPE
    limit_bytes: int = BODY_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Success:
    """One way in which an operation succeeds; `schema` is None for an answer without a body."""

    status: int
    summary: str
    schema: Any = None
    media_type: str = JSON_TYPE
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method at one path, which is below `/memory/v1`. A GET answers HEAD as well.

    `permission` is asked for before `handler` runs. `problems` are the codes of its refusals, besides COMMON_PROBLEMS.
    """

    method: Literal["GET", "PUT", "POST", "PATCH", "DELETE"]
    path: str
    id: str
    summary: str
    permission: str
    handler: Handler
    successes: tuple[Success, ...]
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    problems: tuple[str, ...] = ()


def routes_of(operations: Sequence[Operation], base: str) -> list[Route]:
    """Return one route for each path, in the order in which the paths first come; `base` goes before each path."""
    paths: dict[str, dict[str, Operation]] = {}
    for operation in operations:
        methods = paths.setdefault(operation.path, {})
        methods[operation.method] = operation
        if operation.method == "GET":
            methods["HEAD"] = operation
    return [_route(base + path, methods) for path, methods in paths.items()]


def scope_of(request: Request) -> Scope:
    """Return the walls around what the caller may touch: the tenant of the token, and the namespace named."""
    claims = claims_of(request)
    return Scope(claims.tenant, namespace_within(claims, namespace_of(request)))


def owner_of(request: Request) -> str | None:
    """Return the user whose memories alone the caller may touch, None for a caller who is not held to any."""
    return claims_of(request).memory_user


async def perform(operation: Operation, request: Request) -> ASGIApp:
    """Carry out an operation for the caller of `request` and return its answer. Raises a Problem for each refusal."""
    claims = require(request, operation.permission)
    if request.scope["query_string"]:
        request = _understood(operation, request)
    if claims.is_confined:
        check_confinement(operation.id, claims)
    try:
        return await operation.handler(request)
    except RagridError as error:
        if is_refusal(error):
            raise problem_of(error) from error
        raise


def _understood(operation: Operation, request: Request) -> Request:
    """Return the request with its namespace in the header, also when the query string names it.

    Raises a 400 Problem for a parameter that the operation does not take: ignored, it would mislead.
    """
    known = [one.name for one in operation.parameters if one.place == "query"]
    takes_namespace = any(one.name == NAMESPACE_HEADER for one in operation.parameters)
    given = request.query_params.multi_items()
    named = [value for name, value in given if takes_namespace and name == NAMESPACE_PARAMETER]
    rest = [(name, value) for name, value in given if not (takes_namespace and name == NAMESPACE_PARAMETER)]
    for name, _ in rest:
        if name not in known:
            allowed = (*known, NAMESPACE_PARAMETER) if takes_namespace else tuple(known)
            raise Problem(400, "unknown-parameter", unknown_detail(name, allowed).replace("member", "parameter"))
    if not named:
        return request
    headers = [*request.scope["headers"], *((NAMESPACE_HEADER.lower().encode(), value.encode()) for value in named)]
    scope = {**request.scope, "headers": headers, "query_string": urlencode(rest).encode()}
    return Request(scope, request.receive)


class _Endpoint:
    """ASGI: the operations at one path. Starlette would wrap a function for errors, which `Observed` answers anyway."""

    def __init__(self, operations: dict[str, Operation]) -> None:
        self._operations = operations

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        answer = await perform(self._operations[scope["method"]], Request(scope, receive, send))
        await answer(scope, receive, send)


def _route(path: str, operations: dict[str, Operation]) -> Route:
    return Route(path, _Endpoint(operations), methods=list(operations))
