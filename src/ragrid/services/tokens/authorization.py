"""What an authorization request asks for, pure: RFC 6749 section 4.1 with PKCE (RFC 7636), as RFC 9700 wants it."""

import base64
import hashlib
import hmac
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from ragrid.identity.roles import permissions_of
from ragrid.services.tokens.clients import Client
from ragrid.services.tokens.grants import Form, OAuthError, audience_of, audiences_of, scope_of
from ragrid.spec.settings import TokensSettings

#: RFC 7636: an S256 challenge is 32 bytes in base64url; a verifier has 43 to 128 unreserved characters.
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_STATE_LIMIT = 1024
_URI_LIMIT = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRequest:
    """A request that may be shown to a person; `redirect_uri` is one that the client has registered.

    `scope` is None when the client asks for all that the person may do.
    """

    client_id: str
    redirect_uri: str
    scope: tuple[str, ...] | None
    audience: tuple[str, ...]
    state: str | None
    challenge: str


class RedirectError(Exception):
    """A refusal that the client is told by a redirect; `location` is where."""

    def __init__(self, location: str) -> None:
        super().__init__("told to the client")
        self.location = location


def read_request(form: Form, client: Client | None, settings: TokensSettings) -> AuthorizationRequest:
    """Return what a client asks of a person.

    Raises OAuthError for what must be shown to the person alone (an unknown client or redirect URI: never redirect
    there), RedirectError for everything else.
    """
    redirect_uri = form.one("redirect_uri")
    if client is None or redirect_uri is None or redirect_uri not in client.redirect_uris:
        raise OAuthError("invalid_request", "the client is unknown, or the address to return to is none of its own")
    state = form.one("state")
    try:
        _check(form, state)
        return AuthorizationRequest(
            client_id=client.client_id,
            redirect_uri=redirect_uri,
            scope=asked_scope(form, settings),
            audience=audience_of(form, audiences_of(settings), issuer=settings.issuer),
            state=state,
            challenge=form.needed("code_challenge"),
        )
    except OAuthError as error:
        told = {"error": error.code, "error_description": error.detail}
        raise RedirectError(answer_url(redirect_uri, told, state=state, issuer=settings.issuer)) from error


def asked_scope(form: Form, settings: TokensSettings) -> tuple[str, ...] | None:
    """Return the permissions that a request names, None for all; raises OAuthError for those that no role allows."""
    asked = form.one("scope")
    if asked is None:
        return None
    return scope_of(asked, permissions_of(tuple(settings.roles), settings.roles))


def answer_url(redirect_uri: str, members: Mapping[str, str], *, state: str | None, issuer: str) -> str:
    """Return where the answer goes; `iss` tells the client whose it is (RFC 9207)."""
    query = urlencode({**members, **({"state": state} if state is not None else {}), "iss": issuer})
    return f"{redirect_uri}{'&' if urlsplit(redirect_uri).query else '?'}{query}"


def check_verifier(verifier: str, challenge: str) -> None:
    """Raise OAuthError unless `verifier` is what `challenge` was made from (S256)."""
    made = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    if not _VERIFIER.fullmatch(verifier) or not hmac.compare_digest(made, challenge):
        raise OAuthError("invalid_grant", "code_verifier does not fit")


def redirect_uri_fault(uri: str) -> str | None:
    """Return what is wrong with a redirect URI, or None.

    https, or http to a loopback address of the person's own machine; compared as text, so nothing in it may be
    written in two ways that matter.
    """
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "not a URL"
    if not uri.isascii() or not uri.isprintable() or " " in uri or len(uri) > _URI_LIMIT:
        return f"wanted at most {_URI_LIMIT} printable ASCII characters"
    if not host or "#" in uri or parts.username is not None or parts.password is not None:
        return "wanted a host, and neither a fragment nor a user name"
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host)):
        return None
    return "wanted https, or http to 127.0.0.1 or [::1]"


def _check(form: Form, state: str | None) -> None:
    if form.one("request") is not None or form.one("request_uri") is not None:
        raise OAuthError("request_not_supported", "send the parameters themselves")
    if form.one("response_type") != "code":
        raise OAuthError("unsupported_response_type", "wanted response_type=code")
    if form.one("response_mode") not in (None, "query"):
        raise OAuthError("invalid_request", "wanted response_mode=query")
    if form.one("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(form.one("code_challenge") or ""):
        raise OAuthError("invalid_request", "wanted PKCE: code_challenge with code_challenge_method=S256 (RFC 7636)")
    if state is not None and len(state) > _STATE_LIMIT:
        raise OAuthError("invalid_request", f"state: wanted at most {_STATE_LIMIT} characters")
    if form.one("prompt") == "none":
        raise OAuthError("login_required", "people sign in each time")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
