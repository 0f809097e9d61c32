"""The endpoints for administrators that are about people: /tokens/v1/users."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ragrid.errors import ConflictError
from ragrid.identity.roles import DEFAULT_TENANT
from ragrid.services.tokens.admin import PREFIX
from ragrid.services.tokens.clients import is_name
from ragrid.services.tokens.desk import Desk
from ragrid.services.tokens.grants import NO_STORE
from ragrid.services.tokens.issuer import ADMIN_PERMISSION
from ragrid.services.tokens.passwords import Passwords, fault_of
from ragrid.services.tokens.people_store import User
from ragrid.services.tokens.users import Users
from ragrid.web.application import read_json
from ragrid.web.auth import require
from ragrid.web.problem import Problem


class NewUser(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /users."""

    name: str
    password: str
    roles: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=32)]
    tenant: str = DEFAULT_TENANT


class UserChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of PATCH /users/{name}; one of the two."""

    password: str | None = None
    disabled: bool | None = None


class PeopleEndpoints:
    """People, on top of Users."""

    def __init__(
        self, users: Users, desk: Desk, passwords: Passwords, *, known_roles: Mapping[str, tuple[str, ...]]
    ) -> None:
        self._users = users
        self._desk = desk
        self._passwords = passwords
        self._known_roles = known_roles

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(f"{PREFIX}/users", self._list, methods=["GET"]),
            Route(f"{PREFIX}/users", self._add, methods=["POST"]),
            Route(f"{PREFIX}/users/{{name}}", self._change, methods=["PATCH"]),
        ]

    async def _list(self, request: Request) -> Response:
        require(request, ADMIN_PERMISSION)
        users = await self._desk.do(self._users.all)
        return _answer({"users": [_shown(user) for user in users]})

    async def _add(self, request: Request) -> Response:
        claims = require(request, ADMIN_PERMISSION)
        wanted = await read_json(request, NewUser)
        self._check(wanted)
        password_hash = await self._passwords.hash(wanted.password)
        try:
            await self._desk.do(
                self._users.add,
                wanted.name,
                tenant=wanted.tenant,
                roles=wanted.roles,
                password_hash=password_hash,
                by=claims.subject,
            )
        except ConflictError as error:
            raise Problem(409, "name-taken", str(error)) from error
        return _answer({"name": wanted.name, "tenant": wanted.tenant, "roles": wanted.roles}, status=201)

    async def _change(self, request: Request) -> Response:
        claims = require(request, ADMIN_PERMISSION)
        wanted = await read_json(request, UserChange)
        name = request.path_params["name"]
        if (wanted.password is None) == (wanted.disabled is None):
            raise Problem(422, "invalid-body", "wanted one of `password` and `disabled`")
        if wanted.password is not None:
            _refuse(_password_errors(wanted.password))
            password_hash = await self._passwords.hash(wanted.password)
            is_known = await self._desk.do(self._users.set_password, name, password_hash, by=claims.subject)
        else:
            disabled = wanted.disabled is True
            is_known = await self._desk.do(self._users.set_disabled, name, disabled=disabled, by=claims.subject)
        if not is_known:
            raise Problem(404, "unknown-user", f"nobody is called {name!r}; GET {PREFIX}/users")
        return Response(status_code=204, headers=NO_STORE)

    def _check(self, wanted: NewUser) -> None:
        errors = [
            {"pointer": f"/{member}", "detail": "wanted 1 to 128 of letters, digits, '.', '_', '-'"}
            for member, text in (("name", wanted.name), ("tenant", wanted.tenant))
            if not is_name(text)
        ]
        if set(wanted.roles) - self._known_roles.keys():
            errors.append({"pointer": "/roles", "detail": f"wanted any of {', '.join(sorted(self._known_roles))}"})
        _refuse([*errors, *_password_errors(wanted.password)])


def _password_errors(password: str) -> list[dict[str, str]]:
    fault = fault_of(password)
    return [] if fault is None else [{"pointer": "/password", "detail": fault}]


def _refuse(errors: list[dict[str, str]]) -> None:
    if errors:
        detail = "; ".join(f"{error['pointer']}: {error['detail']}" for error in errors)
        raise Problem(422, "invalid-body", detail, errors=errors)


def _shown(user: User) -> dict[str, object]:
    return {
        "name": user.name,
        "tenant": user.tenant,
        "roles": user.roles,
        "disabled": user.disabled,
        "created_s": user.created_s,
    }


def _answer(content: object, *, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, NO_STORE, "application/json")
