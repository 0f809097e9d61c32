"""Every operation that a service offers, and what the edge's table says of each."""

import re
from collections.abc import Iterable
from typing import Any

from starlette.routing import Route as ServedRoute

from ragrid.gateway.closed import CLOSED, Operation
from ragrid.gateway.route import Found, find_route
from ragrid.gateway.routes import POLICY

_METHODS = {"get", "put", "post", "delete", "patch", "head", "options", "trace"}


def of_openapi(document: Any) -> list[Operation]:
    """Return the operations that an OpenAPI document lists."""
    return sorted(
        (method.upper(), path) for path, item in document["paths"].items() for method in item.keys() & _METHODS
    )


def of_routes(routes: Iterable[Any]) -> list[Operation]:
    """Return the operations of a Starlette route table; HEAD comes with every GET and means the same."""
    served = [route for route in routes if isinstance(route, ServedRoute)]
    return sorted((method, route.path) for route in served for method in (route.methods or {"GET"}) - {"HEAD"})


def undecided(service: str, operations: Iterable[Operation]) -> list[Operation]:
    """Return the operations that are neither let through with a permission nor closed with a reason."""
    return [one for one in operations if one not in CLOSED[service] and not is_let_through(service, one)]


def is_let_through(service: str, operation: Operation) -> bool:
    """Tell whether a route of the table takes the operation."""
    method, path = operation
    return isinstance(find_route(POLICY[service], method, re.sub(r"\{[^}]*\}", "x", path)), Found)
