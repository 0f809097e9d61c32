"""What a line of the policy table is, and what a table says about a request. Pure."""

import re
from dataclasses import dataclass
from typing import Literal

KIB = 1024
MIB = 1024 * 1024

#: Methods that change something.
WRITING = ("DELETE", "PATCH", "POST", "PUT")

#: A permission, or None for a route that needs no token.
Permission = str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One line of the table. `idempotent` routes may be replayed on another instance after the request was sent.

    `streaming` answers are passed on byte by byte. `answer` names an answer that the edge gives by itself. `is_owned`:
    the edge asks the backend whether the `{collection}` in the path is the tenant's, before a request may name it.
    `is_held`: its callers are kept waiting on purpose, so what it takes is no response time and counts as none.
    `is_metered`: an answer takes tokens of a language model, of which a caller may have a quota.
    """

    name: str
    methods: tuple[str, ...]
    path: str
    permission: Permission
    idempotent: bool = False
    streaming: bool = False
    body_limit_bytes: int = MIB
    read_timeout_s: float = 60.0
    answer: Literal["identity"] | None = None
    is_owned: bool = False
    is_held: bool = False
    is_metered: bool = False

    @property
    def is_patient(self) -> bool:
        """Its callers are used to waiting, so a request leaves a silent instance only once that is out."""
        return self.streaming or self.is_held

    @property
    def expression(self) -> str:
        """The path as a regular expression that Python and PCRE read alike."""
        open_ended = self.path.endswith("/**")
        path = self.path.removesuffix("/**")
        parts = (
            f"(?P<{segment[1:-1]}>[^/]+)" if segment.startswith("{") else re.escape(segment)
            for segment in path.split("/")
        )
        return "^" + "/".join(parts) + ("/.+$" if open_ended else "$")


def read_route(name: str, path: str, permission: Permission, *, is_held: bool = False) -> Route:
    """Return a route that reads."""
    return Route(name=name, methods=("GET", "HEAD"), path=path, permission=permission, idempotent=True, is_held=is_held)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePolicy:
    """The routes of one service. `prefixes` are its places in the one public address space.

    `forwards_authorization`: the backend gets the caller's token, because it verifies it again itself.
    """

    name: str
    prefixes: tuple[str, ...]
    health_path: str
    forwards_authorization: bool
    routes: tuple[Route, ...]

    @property
    def body_limit_bytes(self) -> int:
        """The largest body that any route of the service takes."""
        return max(route.body_limit_bytes for route in self.routes)

    @property
    def is_streaming(self) -> bool:
        """Some route streams, so nothing of this service is buffered."""
        return any(route.streaming for route in self.routes)


@dataclass(frozen=True, slots=True)
class Found:
    """A route that takes the request; `tenant` is the one that the path names, if it names one."""

    route: Route
    tenant: str | None


@dataclass(frozen=True, slots=True)
class WrongMethod:
    """The path exists; `allowed` lists the methods that it takes."""

    allowed: tuple[str, ...]


def find_route(policy: ServicePolicy, method: str, path: str) -> Found | WrongMethod | None:
    """Return what the table says about a decoded path; None when nothing names it. The Lua edge decides the same."""
    allowed: set[str] = set()
    for route in policy.routes:
        match = re.fullmatch(route.expression.removeprefix("^").removesuffix("$"), path)
        if match is None:
            continue
        if method in route.methods:
            return Found(route, match.groupdict().get("tenant"))
        allowed.update(route.methods)
    return WrongMethod(tuple(sorted(allowed))) if allowed else None
