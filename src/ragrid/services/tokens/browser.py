"""What a browser meets: /oauth2/authorize and /oauth2/device."""

import base64
import binascii
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from ragrid.services.tokens.authorization import (
    AuthorizationRequest,
    RedirectError,
    answer_url,
    read_request,
)
from ragrid.services.tokens.desk import Desk
from ragrid.services.tokens.devices import Devices
from ragrid.services.tokens.grants import Form, OAuthError, parse_form, parse_pairs
from ragrid.services.tokens.issuer import Issuer
from ragrid.services.tokens.pages import Asking, code_page, headers, sign_in_page, told_page
from ragrid.services.tokens.passwords import MOST_CHARACTERS, Passwords
from ragrid.services.tokens.seal import Seal, nonce_of
from ragrid.services.tokens.sign_ins import SignIns
from ragrid.services.tokens.users import Users
from ragrid.spec.settings import TokensSettings
from ragrid.web.application import read_body

AUTHORIZE, DEVICE = "/oauth2/authorize", "/oauth2/device"
#: `__Host-`: only this host over TLS can set it, for all paths. Lax: it is there when a client sends the person here,
#: and not with a form that another site posts.
COOKIE = "__Host-ragrid-sign-in"
_FORM_LIMIT_BYTES = 16 * 1024
#: Nobody has a longer name; a guesser's is cut before it is kept anywhere.
_NAME_LIMIT = 128
_Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class _Shown:
    """One form: where it is posted, what it is about, and what the person reads."""

    action: str
    content: str
    asking: Asking


class BrowserEndpoints:
    """Shows a person who asks for what, checks the password, and sends them back."""

    def __init__(
        self,
        settings: TokensSettings,
        desk: Desk,
        *,
        issuer: Issuer,
        users: Users,
        sign_ins: SignIns,
        devices: Devices,
        passwords: Passwords,
        seal: Seal,
    ) -> None:
        self._settings = settings
        self._desk = desk
        self._issuer = issuer
        self._users = users
        self._sign_ins = sign_ins
        self._devices = devices
        self._passwords = passwords
        self._seal = seal

    def routes(self) -> list[Route]:
        """Return the routes; all of them answer without a bearer token."""
        return [
            Route(AUTHORIZE, _in_html(self._ask), methods=["GET"]),
            Route(AUTHORIZE, _in_html(self._answer), methods=["POST"]),
            Route(DEVICE, _in_html(self._ask_device), methods=["GET"]),
            Route(DEVICE, _in_html(self._answer_device), methods=["POST"]),
        ]

    async def _ask(self, request: Request) -> Response:
        form = parse_pairs(request.url.query.encode())
        client = await self._desk.do(self._issuer.client, form.one("client_id") or "")
        try:
            wanted = read_request(form, client, self._settings)
        except RedirectError as refusal:
            return RedirectResponse(refusal.location, 303, headers())
        content = base64.urlsafe_b64encode(msgspec.json.encode(wanted)).decode()
        return self._form(request, _Shown(AUTHORIZE, content, _asking(wanted)))

    async def _answer(self, request: Request) -> Response:
        form = await self._sealed_form(request)
        wanted = _request_of(form.needed("content"))
        client = await self._desk.do(self._issuer.client, wanted.client_id)
        if client is None or wanted.redirect_uri not in client.redirect_uris:
            raise OAuthError("invalid_request", "the client is gone; begin again")
        if form.one("decision") != "allow":
            told = {"error": "access_denied", "error_description": "the person said no"}
            location = answer_url(wanted.redirect_uri, told, state=wanted.state, issuer=self._settings.issuer)
            return RedirectResponse(location, 303, headers())
        try:
            name = await self._signed_in(form)
        except OAuthError as refusal:
            shown = _Shown(AUTHORIZE, form.needed("content"), _asking(wanted))
            return self._form(request, shown, name=form.one("name") or "", refusal=refusal)
        location = await self._desk.do(self._sign_ins.allow, wanted, name)
        return RedirectResponse(location, 303, headers())

    async def _ask_device(self, request: Request) -> Response:
        typed = request.query_params.get("user_code")
        if not typed:
            return HTMLResponse(code_page(DEVICE), headers=headers())
        try:
            device = await self._desk.do(self._devices.find, typed)
        except OAuthError as refusal:
            return HTMLResponse(code_page(DEVICE, alert=refusal.detail), refusal.status, headers())
        asking = Asking(client_id=device.client_id, scope=device.scope)
        return self._form(request, _Shown(DEVICE, device.user_code, asking))

    async def _answer_device(self, request: Request) -> Response:
        form = await self._sealed_form(request)
        code = form.needed("content")
        device = await self._desk.do(self._devices.find, code)
        if form.one("decision") != "allow":
            await self._desk.do(self._devices.decide, code, allowed_by=None)
            return HTMLResponse(told_page("Denied", "The device was turned away."), headers=headers())
        try:
            name = await self._signed_in(form)
        except OAuthError as refusal:
            shown = _Shown(DEVICE, code, Asking(client_id=device.client_id, scope=device.scope))
            return self._form(request, shown, name=form.one("name") or "", refusal=refusal)
        await self._desk.do(self._devices.decide, code, allowed_by=name)
        return HTMLResponse(
            told_page("Connected", "You may close this page and go back to the device."), headers=headers()
        )

    async def _signed_in(self, form: Form) -> str:
        """Return the name under which somebody has just signed in; raises OAuthError."""
        name, password = (form.one("name") or "")[:_NAME_LIMIT], form.one("password") or ""
        if len(password) > MOST_CHARACTERS:
            raise OAuthError("access_denied", "unknown name or wrong password", status=403)
        known = await self._desk.do(self._users.begin_attempt, name)
        fits = await self._passwords.fits(password, known)
        await self._desk.do(self._users.end_attempt, name, fits=fits)
        return name

    def _form(
        self, request: Request, shown: "_Shown", *, name: str = "", refusal: OAuthError | None = None
    ) -> Response:
        nonce = nonce_of(request.cookies.get(COOKIE))
        hidden = {"content": shown.content, "seal": self._seal.make(nonce, f"{shown.action}\0{shown.content}")}
        alert = refusal.detail if refusal else ""
        page = sign_in_page(shown.action, hidden, shown.asking, name=name[:_NAME_LIMIT], alert=alert)
        target = headers(form_target=shown.asking.returns_to)
        response = HTMLResponse(page, refusal.status if refusal else 200, target)
        if refusal is not None and "Retry-After" in refusal.headers:
            response.headers["Retry-After"] = refusal.headers["Retry-After"]
        response.set_cookie(COOKIE, nonce, max_age=600, path="/", secure=True, httponly=True, samesite="lax")
        return response

    async def _sealed_form(self, request: Request) -> Form:
        """Return a form that this service showed to this browser; raises OAuthError for any other."""
        form = parse_form(await read_body(request, _FORM_LIMIT_BYTES), request.headers.get("content-type"))
        origin = request.headers.get("origin")
        content = f"{request.url.path}\0{form.needed('content')}"
        is_ours = self._seal.holds(form.needed("seal"), request.cookies.get(COOKIE), content)
        if not is_ours or origin not in (None, self._settings.issuer):
            raise OAuthError("invalid_request", "the page was open for too long, or not shown here; begin again")
        return form


def _in_html(endpoint: _Endpoint) -> _Endpoint:
    """Tell refusals to the person in a page of their own."""

    async def answered(request: Request) -> Response:
        try:
            return await endpoint(request)
        except OAuthError as error:
            return HTMLResponse(told_page("That did not work", error.detail), error.status, headers())

    return answered


def _asking(wanted: AuthorizationRequest) -> Asking:
    return Asking(client_id=wanted.client_id, scope=wanted.scope, returns_to=wanted.redirect_uri)


def _request_of(content: str) -> AuthorizationRequest:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(content), type=AuthorizationRequest)
    except (binascii.Error, msgspec.MsgspecError, ValueError) as error:  # sealed, so only a fault of ours leads here
        raise OAuthError("invalid_request", "the form is not one of ours; begin again") from error
