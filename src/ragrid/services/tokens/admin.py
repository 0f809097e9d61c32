"""The endpoints for administrators: /tokens/v1/…, each asks for `tokens:admin`."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ragrid.errors import ConflictError
from ragrid.identity.roles import BUILTIN_ROLES, DEFAULT_TENANT
from ragrid.services.tokens.assertion import jwks_fault
from ragrid.services.tokens.authorization import redirect_uri_fault
from ragrid.services.tokens.clients import Client, is_name
from ragrid.services.tokens.desk import Desk
from ragrid.services.tokens.grants import NO_STORE
from ragrid.services.tokens.issuer import ADMIN_PERMISSION, Issuer
from ragrid.services.tokens.store import AuditQuery, Kind
from ragrid.web.application import read_json
from ragrid.web.auth import require
from ragrid.web.problem import Problem

PREFIX = "/tokens/v1"
AUDIT_PAGE = 100
AUDIT_PAGE_LIMIT = 1000
#: SQLite's largest row id.
_LAST_ID = 2**63 - 1


class NewClient(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /clients."""

    client_id: str
    roles: Annotated[tuple[str, ...], msgspec.Meta(max_length=32)] = ()
    tenant: str = DEFAULT_TENANT
    redirect_uris: Annotated[tuple[str, ...], msgspec.Meta(max_length=16)] = ()
    public: bool = False
    jwks: dict[str, Any] | None = None


class Revocation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /revocations; one of the two."""

    client_id: str | None = None
    subject: str | None = None


class Rotation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /keys/rotate."""

    drop_current: bool = False


class AdminEndpoints:
    """Clients, audit log and keys, on top of one Issuer."""

    def __init__(self, issuer: Issuer, desk: Desk, *, known_roles: Mapping[str, tuple[str, ...]]) -> None:
        self._issuer = issuer
        self._desk = desk
        self._known_roles = known_roles

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(f"{PREFIX}/clients", self._list, methods=["GET"]),
            Route(f"{PREFIX}/clients", self._create, methods=["POST"]),
            Route(f"{PREFIX}/clients/{{client_id}}", self._delete, methods=["DELETE"]),
            Route(f"{PREFIX}/roles", self._roles, methods=["GET"]),
            Route(f"{PREFIX}/audit", self._audit, methods=["GET"]),
            Route(f"{PREFIX}/revocations", self._revoke_all, methods=["POST"]),
            Route(f"{PREFIX}/keys", self._keys, methods=["GET"]),
            Route(f"{PREFIX}/keys/rotate", self._rotate, methods=["POST"]),
            Route(f"{PREFIX}/keys/{{kid}}", self._withdraw, methods=["DELETE"]),
        ]

    async def _list(self, request: Request) -> Response:
        require(request, ADMIN_PERMISSION)
        clients = await self._desk.do(self._issuer.clients)
        return _answer({"clients": [_shown(client) for client in clients]})

    async def _create(self, request: Request) -> Response:
        claims = require(request, ADMIN_PERMISSION)
        wanted = await read_json(request, NewClient)
        self._check(wanted)
        try:
            secret = await self._desk.do(
                self._issuer.clientele.create,
                wanted.client_id,
                tenant=wanted.tenant,
                roles=wanted.roles,
                by=claims.subject,
                redirect_uris=wanted.redirect_uris,
                public=wanted.public,
                jwks="" if wanted.jwks is None else json.dumps(wanted.jwks, sort_keys=True),
            )
        except ConflictError as error:
            raise Problem(409, "client-exists", str(error)) from error
        created = msgspec.structs.asdict(wanted)
        return _answer({**created, **({"client_secret": secret} if secret else {})}, status=201)

    async def _delete(self, request: Request) -> Response:
        claims = require(request, ADMIN_PERMISSION)
        client_id = request.path_params["client_id"]
        try:
            if not await self._desk.do(self._issuer.clientele.delete, client_id, by=claims.subject):
                raise Problem(404, "unknown-client", f"no client is called {client_id!r}; GET {PREFIX}/clients")
        except ConflictError as error:
            raise Problem(409, "client-declared", str(error)) from error
        return Response(status_code=204, headers=NO_STORE)

    async def _roles(self, request: Request) -> Response:
        require(request, ADMIN_PERMISSION)
        roles = [
            {"role": name, "permissions": sorted(permissions), "builtin": BUILTIN_ROLES.get(name) == permissions}
            for name, permissions in sorted(self._known_roles.items())
        ]
        return _answer({"roles": roles})

    async def _audit(self, request: Request) -> Response:
        require(request, ADMIN_PERMISSION)
        after = _number(request, "after", default=0, limit=_LAST_ID)
        since_s = _number(request, "since", default=0, limit=_LAST_ID)
        limit = _number(request, "limit", default=AUDIT_PAGE, limit=AUDIT_PAGE_LIMIT)
        wanted = AuditQuery(after=after, since_s=float(since_s), name=request.query_params.get("subject"))
        events = await self._desk.do(self._issuer.audit_lines, wanted, limit)
        return _answer({"events": events, "next": events[-1].id if events else after})

    async def _revoke_all(self, request: Request) -> Response:
        claims = require(request, ADMIN_PERMISSION)
        wanted = await read_json(request, Revocation)
        kind: Kind = "client" if wanted.client_id is not None else "subject"
        name = wanted.client_id if wanted.client_id is not None else wanted.subject
        if name is None or (wanted.client_id is not None and wanted.subject is not None) or not is_name(name):
            raise Problem(422, "invalid-body", "wanted one name, as `client_id` or as `subject`")
        not_before_s = await self._desk.do(self._issuer.clientele.revoke_all, kind, name, by=claims.subject)
        return _answer({"kind": kind, "name": name, "not_before_s": not_before_s})

    async def _keys(self, request: Request) -> Response:
        require(request, ADMIN_PERMISSION)
        return _answer(self._shown_keys())

    async def _rotate(self, request: Request) -> Response:
        claims = require(request, ADMIN_PERMISSION)
        wanted = await read_json(request, Rotation)
        if not wanted.drop_current:  # there is no hurry, and the new key's tokens should be good everywhere
            await asyncio.sleep(self._issuer.keys.unseen_s())
        await self._desk.do(self._issuer.keys.rotate_now, drop_current=wanted.drop_current, by=claims.subject)
        return _answer(self._shown_keys())

    async def _withdraw(self, request: Request) -> Response:
        claims = require(request, ADMIN_PERMISSION)
        kid = request.path_params["kid"]
        if not await self._desk.do(self._issuer.keys.withdraw, kid, by=claims.subject):
            raise Problem(404, "unknown-key", f"no key is called {kid!r}; GET {PREFIX}/keys")
        return _answer(self._shown_keys())

    def _shown_keys(self) -> dict[str, object]:
        return {"keys": [asdict(record) for record in self._issuer.keyring.records]}

    def _check(self, wanted: NewClient) -> None:
        unknown = sorted(set(wanted.roles) - self._known_roles.keys())
        errors = [
            {"pointer": f"/{name}", "detail": "wanted 1 to 128 of letters, digits, '.', '_', '-'"}
            for name, text in (("client_id", wanted.client_id), ("tenant", wanted.tenant))
            if not is_name(text)
        ]
        if unknown or (not wanted.roles and not wanted.redirect_uris and not wanted.public):
            errors.append({"pointer": "/roles", "detail": f"wanted any of {', '.join(sorted(self._known_roles))}"})
        if wanted.jwks is not None and wanted.public:
            errors.append({"pointer": "/jwks", "detail": "a public client has no key to prove itself"})
        elif wanted.jwks is not None and (fault := jwks_fault(wanted.jwks)) is not None:
            errors.append({"pointer": "/jwks", "detail": fault})
        if wanted.public and wanted.roles:
            errors.append(
                {"pointer": "/roles", "detail": "a public client has none: it keeps no secret to prove itself"}
            )
        errors += [
            {"pointer": f"/redirect_uris/{number}", "detail": fault}
            for number, uri in enumerate(wanted.redirect_uris)
            if (fault := redirect_uri_fault(uri)) is not None
        ]
        if errors:
            detail = "; ".join(f"{error['pointer']}: {error['detail']}" for error in errors)
            raise Problem(422, "invalid-body", detail, errors=errors)


def _shown(client: Client) -> dict[str, object]:
    return {
        "client_id": client.client_id,
        "tenant": client.tenant,
        "roles": client.roles,
        "declared": client.declared,
        "created_s": client.created_s,
        "redirect_uris": client.redirect_uris,
        "public": client.public,
        "has_key": bool(client.jwks),
    }


def _number(request: Request, name: str, *, default: int, limit: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= limit):
        raise Problem(422, "invalid-query", f"{name}: wanted a number from 0 to {limit}")
    return int(text)


def _answer(content: object, *, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, NO_STORE, "application/json")
