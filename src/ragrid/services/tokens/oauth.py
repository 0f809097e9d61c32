"""The public endpoints: /oauth2/… and /.well-known/…"""

import asyncio
import contextlib
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ragrid.services.tokens.clients import Client
from ragrid.services.tokens.desk import Desk
from ragrid.services.tokens.grants import NO_STORE, Form, credentials_of, metadata, parse_form
from ragrid.services.tokens.issuer import Issuer
from ragrid.services.tokens.rotation import JWKS_MAX_AGE_S
from ragrid.spec.settings import TokensSettings
from ragrid.web.application import read_body

#: A form with an 8 KB token in it fits twice.
FORM_LIMIT_BYTES = 16 * 1024
#: How long the gateway's controller is kept waiting for a change, seconds: as often as it would ask otherwise, and
#: short enough that nobody waits for it when this service ends.
LONGEST_WAIT_S = 1.0
_CACHED = {"Cache-Control": f"public, max-age={int(JWKS_MAX_AGE_S)}"}


class OAuthEndpoints:
    """The endpoints of RFC 6749, 7009, 7662, 8414 and 7517, on top of one Issuer."""

    def __init__(self, settings: TokensSettings, issuer: Issuer, desk: Desk) -> None:
        self._issuer = issuer
        self._desk = desk
        self._metadata = msgspec.json.encode(metadata(settings))

    def routes(self) -> list[Route]:
        """Return the routes; all of them answer without a bearer token."""
        return [
            Route("/oauth2/token", self._token, methods=["POST"]),
            Route("/oauth2/revoke", self._revoke, methods=["POST"]),
            Route("/oauth2/introspect", self._introspect, methods=["POST"]),
            Route("/.well-known/jwks.json", self._jwks),
            Route("/.well-known/oauth-authorization-server", self._describe),
            Route("/revocations", self._revocations),
        ]

    async def _token(self, request: Request) -> Response:
        form = await _form(request)
        credentials = credentials_of(form, request.headers.get("authorization"))

        def work() -> Any:
            return self._issuer.issue(form, self._issuer.authenticate(credentials))

        return _private(await self._desk.do(work))

    async def _revoke(self, request: Request) -> Response:
        form = await _form(request)
        client = await self._client(request, form)
        await self._desk.do(self._issuer.revoke, form.needed("token"), client)
        return Response(headers=NO_STORE)

    async def _introspect(self, request: Request) -> Response:
        form = await _form(request)
        client = await self._client(request, form)
        return _private(await self._desk.do(self._issuer.introspect, form.needed("token"), client))

    async def _jwks(self, _request: Request) -> Response:
        return Response(self._issuer.keyring.jwks, headers=_CACHED, media_type="application/json")

    async def _describe(self, _request: Request) -> Response:
        return Response(self._metadata, headers=_CACHED, media_type="application/json")

    async def _revocations(self, request: Request) -> Response:
        """For the gateway's controller; on the private port only, no route leads here.

        `after` is the revision that the caller has: the answer then comes when there is another one, or in a second.
        """
        after = request.query_params.get("after")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_WAIT_S):
                while self._issuer.revision == after:
                    await self._desk.next_call()
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
