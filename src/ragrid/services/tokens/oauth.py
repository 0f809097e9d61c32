"""The public endpoints: /oauth2/… and /.well-known/…"""

import asyncio
import contextlib
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ragrid.errors import UnreachableError
from ragrid.services.tokens import grants
from ragrid.services.tokens.clients import Client
from ragrid.services.tokens.desk import Desk
from ragrid.services.tokens.devices import Devices
from ragrid.services.tokens.exchange import Exchange
from ragrid.services.tokens.grants import (
    NO_STORE,
    RESOURCES,
    Credentials,
    Form,
    OAuthError,
    credentials_of,
    metadata,
    parse_form,
    resource_metadata,
)
from ragrid.services.tokens.issuer import IssuedToken, Issuer
from ragrid.services.tokens.rotation import JWKS_MAX_AGE_S
from ragrid.services.tokens.sign_ins import SignIns
from ragrid.spec.settings import TokensSettings
from ragrid.web.application import read_body
from ragrid.web.problem import Problem

#: A form with an 8 KB token in it fits twice.
FORM_LIMIT_BYTES = 16 * 1024
#: How long the gateway's controller is kept waiting for a change, seconds: as often as it would ask otherwise, and
#: short enough that nobody waits for it when this service ends.
LONGEST_WAIT_S = 1.0
#: Longest time without a look at the store after which this service still says what is revoked, seconds. It looks each
#: 2 s; a database that answers slowly may take 8.
FOLLOWED_WITHIN_S = 15.0
_CACHED = {"Cache-Control": f"public, max-age={int(JWKS_MAX_AGE_S)}"}


class OAuthEndpoints:
    """The endpoints of RFC 6749, 7009, 7662, 8414, 9728 and 7517, on top of one Issuer."""

    def __init__(
        self,
        settings: TokensSettings,
        desk: Desk,
        *,
        issuer: Issuer,
        sign_ins: SignIns,
        devices: Devices,
        exchange: Exchange,
    ) -> None:
        self._issuer = issuer
        self._sign_ins = sign_ins
        self._devices = devices
        self._exchange = exchange
        self._desk = desk
        self._metadata = msgspec.json.encode(metadata(settings))
        self._resources = {
            path: msgspec.json.encode(resource_metadata(settings, path))
            for path, service in RESOURCES.items()
            if service in settings.audiences
        }

    def routes(self) -> list[Route]:
        """Return the routes; all of them answer without a bearer token."""
        return [
            Route("/oauth2/token", self._token, methods=["POST"]),
            Route("/oauth2/device_authorization", self._device, methods=["POST"]),
            Route("/oauth2/revoke", self._revoke, methods=["POST"]),
            Route("/oauth2/introspect", self._introspect, methods=["POST"]),
            Route("/.well-known/jwks.json", self._jwks),
            Route("/.well-known/oauth-authorization-server", self._describe),
            *(Route(f"/.well-known/oauth-protected-resource{path}", self._describe_resource) for path in RESOURCES),
            Route("/revocations", self._revocations),
        ]

    async def _token(self, request: Request) -> Response:
        form = await _form(request)
        credentials = credentials_of(form, request.headers.get("authorization"))

        return _private(await self._desk.do(self._granted, form, credentials))

    def _granted(self, form: Form, credentials: Credentials) -> IssuedToken:
        client = self._issuer.identify(credentials)
        match form.needed("grant_type"):
            case "client_credentials":
                return self._issuer.issue(form, client)
            case "authorization_code":
                return self._sign_ins.redeem(form, client)
            case "refresh_token":
                return self._sign_ins.refresh(form, client)
            case grants.DEVICE_CODE:
                return self._devices.poll(form, client)
            case grants.TOKEN_EXCHANGE:
                return self._exchange.swap(form, client)
        raise OAuthError("unsupported_grant_type", f"wanted one of {', '.join(grants.GRANT_TYPES)}")

    async def _device(self, request: Request) -> Response:
        form = await _form(request)
        credentials = credentials_of(form, request.headers.get("authorization"))

        def work() -> Any:
            client = self._issuer.identify(credentials)
            if not client.acts_for_people:
                raise OAuthError("unauthorized_client", "this client does not act for people")
            return self._devices.begin(form, client)

        return _private(await self._desk.do(work))

    async def _revoke(self, request: Request) -> Response:
        form = await _form(request)
        credentials = credentials_of(form, request.headers.get("authorization"))

        def work() -> None:
            token, client = form.needed("token"), self._issuer.identify(credentials)
            if not self._sign_ins.revoke(token, client):
                self._issuer.revoke(token, client)

        await self._desk.do(work)
        return Response(headers=NO_STORE)

    async def _introspect(self, request: Request) -> Response:
        form = await _form(request)
        client = await self._client(request, form)
        return _private(await self._desk.do(self._issuer.introspect, form.needed("token"), client))

    async def _jwks(self, _request: Request) -> Response:
        return Response(self._issuer.keyring.jwks, headers=_CACHED, media_type="application/json")

    async def _describe(self, _request: Request) -> Response:
        return Response(self._metadata, headers=_CACHED, media_type="application/json")

    async def _describe_resource(self, request: Request) -> Response:
        path = request.url.path.removeprefix("/.well-known/oauth-protected-resource")
        if path not in self._resources:
            raise Problem(404, "not-found", f"this grid has no {RESOURCES[path]}")
        return Response(self._resources[path], headers=_CACHED, media_type="application/json")

    async def _revocations(self, request: Request) -> Response:
        """For the gateway's controller; on the private port only, no route leads here.

        `after` is the revision that the caller has: the answer then comes when there is another one, or in a second.
        Raises UnreachableError (503) without the store: another replica may know of more, and should be asked.
        """
        after = request.query_params.get("after")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_WAIT_S):
                while self._issuer.revision == after:
                    await self._desk.next_call()
        if self._issuer.followed_ago_s() > FOLLOWED_WITHIN_S:
            raise UnreachableError("the token store does not answer; what is revoked may be more than is known here")
        revision, revoked = self._issuer.revision, self._issuer.revoked
        tokens = [{"jti": token_id, "exp": expires_s} for token_id, expires_s in sorted(revoked.tokens.items())]
        marks = {"subjects": revoked.subjects, "clients": revoked.clients}
        return _private({"revision": revision, "revoked": tokens, **marks})

    async def _client(self, request: Request, form: Form) -> Client:
        credentials = credentials_of(form, request.headers.get("authorization"))
        return await self._desk.do(self._issuer.authenticate, credentials)


async def _form(request: Request) -> Form:
    return parse_form(await read_body(request, FORM_LIMIT_BYTES), request.headers.get("content-type"))


def _private(content: object) -> Response:
    return Response(msgspec.json.encode(content), headers=NO_STORE, media_type="application/json")
