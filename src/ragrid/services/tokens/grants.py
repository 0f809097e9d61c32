"""What a token request asks for and what it gets, pure: RFC 6749 for the request, RFC 9068 for the token."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from starlette.responses import Response

from ragrid.identity.confinement import (
    NAMESPACES_CLAIM,
    USER_CLAIM,
    ConfinementError,
    is_within,
    patterns_from,
    user_from,
)
from ragrid.identity.roles import permissions_of
from ragrid.services.tokens.assertion import ASSERTION_TYPE, claimed_client
from ragrid.services.tokens.bearer import Bearer
from ragrid.services.tokens.clients import Client
from ragrid.spec.settings import TokensSettings
from ragrid.web.problem import Problem

#: Every answer with a token or a refusal in it (RFC 6749 section 5.1).
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
#: More members than any of our requests has.
FORM_MEMBERS = 32
#: These may be given several times (RFC 8707 section 2).
_AUTHENTICATED = ("token", "revocation", "introspection")
#: What an assertion may be signed with; the key that the client registered fixes which of them.
ALGORITHMS = ("ES256", "RS256", "Ed25519")
_REPEATED = frozenset({"resource", "audience"})
#: Addresses at which clients that know no grid look for a service, and the service. `/mcp`: agents and editors.
RESOURCES: Mapping[str, str] = {"/mcp": "memory"}
#: The service that these tokens let an administrator call, whatever the grid lists besides.
OWN_AUDIENCE = "tokens"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - a kind of grant
#: Everything that the token endpoint takes; no password and no implicit grant (RFC 9700 sections 2.1.2 and 2.4).
GRANT_TYPES = ("authorization_code", "client_credentials", "refresh_token", DEVICE_CODE, TOKEN_EXCHANGE)


class OAuthError(Problem):
    """A refusal in OAuth's own words (RFC 6749 section 5.2), which every OAuth client understands."""

    def __init__(self, code: str, detail: str, *, status: int = 400, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, code, detail, headers={**NO_STORE, **(headers or {})})

    def response(self, *, request_id: str | None = None) -> Response:
        """Return `{"error", "error_description"}`."""
        body = {"error": self.code, "error_description": self.detail}
        if request_id is not None:
            body["request_id"] = request_id
        return Response(json.dumps(body), self.status, self.headers, "application/json")


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """Who somebody says to be, and the proof: a secret, or an assertion that a key has signed."""

    client_id: str
    secret: str
    assertion: str = ""


@dataclass(frozen=True, slots=True)
class Form:
    """The members of one form-encoded request."""

    members: Mapping[str, tuple[str, ...]]

    def one(self, name: str) -> str | None:
        """Return the member called `name`, or None."""
        values = self.members.get(name, ())
        return values[0] if values else None

    def needed(self, name: str) -> str:
        """Return the member called `name`; raises OAuthError when it is missing or empty."""
        value = self.one(name)
        if not value:
            raise OAuthError("invalid_request", f"{name} is missing; see RFC 6749")
        return value


@dataclass(frozen=True, slots=True)
class Grant:
    """What one token will say, before it has an id and a time."""

    audience: tuple[str, ...]
    permissions: tuple[str, ...]
    lifetime_s: float
    #: Claims that hold it to a part of the tenant's memories.
    confinement: Mapping[str, Any] = field(default_factory=dict)


def parse_form(content: bytes, content_type: str | None) -> Form:
    """Return the members of a form; raises OAuthError when it is none, or a member stands twice."""
    if (content_type or "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise OAuthError("invalid_request", "send application/x-www-form-urlencoded")
    return parse_pairs(content)


def parse_pairs(content: bytes) -> Form:
    """Return the members of a form or query; raises OAuthError when it is none, or a member stands twice."""
    try:
        pairs = parse_qsl(
            content.decode(),
            keep_blank_values=True,
            strict_parsing=bool(content),
            errors="strict",
            max_num_fields=FORM_MEMBERS,
        )
    except ValueError as error:
        raise OAuthError("invalid_request", "the parameters are not form-encoded UTF-8") from error
    members: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        if name in members and name not in _REPEATED:
            raise OAuthError("invalid_request", "a parameter stands twice")
        members[name] = (*members.get(name, ()), value)
    return Form(members)


def credentials_of(form: Form, authorization: str | None) -> Credentials:
    """Return who calls, by a secret (basic or post), an assertion, or the name of a public client and no proof.

    Raises OAuthError for none of these and for two at once.
    """
    posted, assertion = form.one("client_secret"), form.one("client_assertion")
    if sum(proof is not None for proof in (authorization, posted, assertion)) > 1:
        raise OAuthError("invalid_request", "two ways of client authentication at once, wanted one")
    if authorization is not None:
        return _basic(authorization)
    client_id = form.one("client_id")
    if assertion is not None:
        claimed = claimed_client(assertion)
        if form.one("client_assertion_type") != ASSERTION_TYPE or not claimed or client_id not in (None, claimed):
            raise invalid_client()
        return Credentials(claimed, "", assertion)
    if not client_id:
        raise invalid_client()
    return Credentials(client_id, posted or "")


def invalid_client() -> OAuthError:
    """Return the one refusal for a client that is unknown or has the wrong secret; which of them is not said."""
    return OAuthError(
        "invalid_client",
        "unknown client or wrong secret",
        status=401,
        headers={"WWW-Authenticate": 'Basic realm="ragrid", charset="UTF-8"'},
    )


def decide(form: Form, client: Client, settings: TokensSettings) -> Grant:
    """Return what the token of a client-credentials request may do; raises OAuthError when it asks for too much."""
    if client.public or not client.roles:
        raise OAuthError("unauthorized_client", "this client acts for people only")
    allowed = permissions_of(client.roles, settings.roles)
    return Grant(
        audience=audience_of(form, audiences_of(settings), issuer=settings.issuer),
        permissions=scope_of(form.one("scope"), allowed),
        lifetime_s=_lifetime_s(client.roles, settings),
        confinement=confinement_of(form),
    )


def audiences_of(settings: TokensSettings) -> tuple[str, ...]:
    """Return every service that a token may name: those of the grid, and the token service itself."""
    return tuple(dict.fromkeys((*settings.audiences, OWN_AUDIENCE)))


def claims_for(grant: Grant, bearer: Bearer, *, issuer: str, token_id: str, now_s: float) -> dict[str, Any]:
    """Return the claims of an RFC 9068 access token; times are whole seconds, as most verifiers expect."""
    issued_s = int(now_s)
    return {
        "iss": issuer,
        "aud": list(grant.audience),
        "sub": bearer.subject,
        "client_id": bearer.client_id,
        "tenant": bearer.tenant,
        "scope": " ".join(grant.permissions),
        "roles": list(bearer.roles),
        "iat": issued_s,
        "exp": issued_s + int(grant.lifetime_s),
        "jti": token_id,
        **grant.confinement,
        **({"act": bearer.act} if bearer.act is not None else {}),
    }


def metadata(settings: TokensSettings) -> dict[str, Any]:
    """Return the authorization server metadata (RFC 8414)."""
    issuer = settings.issuer
    secret_methods = ["client_secret_basic", "client_secret_post", "private_key_jwt"]
    methods = [*secret_methods, "none"]
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/oauth2/authorize",
        "device_authorization_endpoint": f"{issuer}/oauth2/device_authorization",
        "token_endpoint": f"{issuer}/oauth2/token",
        "jwks_uri": f"{issuer}/.well-known/jwks.json",
        "revocation_endpoint": f"{issuer}/oauth2/revoke",
        "introspection_endpoint": f"{issuer}/oauth2/introspect",
        "grant_types_supported": list(GRANT_TYPES),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "scopes_supported": sorted(permissions_of(tuple(settings.roles), settings.roles)),
        "token_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_methods_supported": secret_methods,
        **{f"{name}_endpoint_auth_signing_alg_values_supported": ALGORITHMS for name in _AUTHENTICATED},
    }


def resource_metadata(settings: TokensSettings, path: str) -> dict[str, Any]:
    """Return what tells a client which server gives the tokens for a resource of ours (RFC 9728)."""
    service, issuer = RESOURCES[path], settings.issuer
    known = permissions_of(tuple(settings.roles), settings.roles)
    return {
        "resource": f"{issuer}{path}",
        "resource_name": f"{service} of this grid",
        "authorization_servers": [issuer],
        # What administrators alone may do is asked for by whoever knows that they are one.
        "scopes_supported": sorted({f"{service}:read", f"{service}:write"} & known),
        "bearer_methods_supported": ["header"],
    }


def _basic(authorization: str) -> Credentials:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise invalid_client()
    try:
        client_id, separator, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise invalid_client() from error
    if not separator or not client_id or not secret:
        raise invalid_client()
    # RFC 6749 section 2.3.1: both are form-encoded inside.
    return Credentials(unquote_plus(client_id), unquote_plus(secret))


def audience_of(form: Form, known: Sequence[str], *, issuer: str) -> tuple[str, ...]:
    """Return the services that a request names, all of `known` when it names none; raises OAuthError for others.

    A service with a description of its own (`resource_metadata`) may be named by its address, too.
    """
    services = {f"{issuer}{path}": service for path, service in RESOURCES.items()}
    wanted = {services.get(value, value) for name in sorted(_REPEATED) for value in form.members.get(name, ())}
    if wanted - set(known):
        raise OAuthError("invalid_target", f"wanted any of: {' '.join(known)}")
    return tuple(name for name in known if not wanted or name in wanted)


def scope_of(asked: str | None, allowed: frozenset[str]) -> tuple[str, ...]:
    """Return the permissions that a request names, all of `allowed` when it names none; raises OAuthError for more."""
    if asked is None:
        return tuple(sorted(allowed))
    wanted = set(asked.split(" "))
    if not wanted <= allowed:
        raise OAuthError("invalid_scope", "asked for more than the roles allow, or for nothing")
    return tuple(sorted(wanted))


def confinement_of(form: Form, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the claims that hold a token to a part of the memories: what a request asks for, within `before`.

    `memory_ns` holds patterns of namespaces with spaces between them, `memory_user` a user's name. Raises OAuthError
    for what cannot be understood, and for what is not within the confinement of the token that this one is made from.
    """
    held = {name: (before or {})[name] for name in (NAMESPACES_CLAIM, USER_CLAIM) if name in (before or {})}
    asked: dict[str, Any] = {}
    patterns, user = form.one(NAMESPACES_CLAIM), form.one(USER_CLAIM)
    try:
        if patterns is not None:
            asked[NAMESPACES_CLAIM] = list(patterns_from(patterns.split()))
        if user is not None:
            asked[USER_CLAIM] = user_from(user)
    except ConfinementError as error:
        raise OAuthError("invalid_request", str(error)) from error
    outside = [one for one in asked.get(NAMESPACES_CLAIM, ()) if not _is_narrower(one, held.get(NAMESPACES_CLAIM))]
    if outside or (USER_CLAIM in asked and held.get(USER_CLAIM, asked[USER_CLAIM]) != asked[USER_CLAIM]):
        raise OAuthError("invalid_request", "asked for memories that the token does not reach")
    return {**held, **asked}


def _is_narrower(pattern: str, held: Sequence[str] | None) -> bool:
    """Tell whether a pattern surely names nothing outside of `held`: it is one of them, or one name within them."""
    return held is None or pattern in held or ("*" not in pattern and is_within(pattern, held))


def _lifetime_s(roles: Sequence[str], settings: TokensSettings) -> float:
    """Return how long a token of these roles lives; the long time is for clients that are services and nothing else."""
    if roles and all(role.endswith("-service") for role in roles):
        return settings.service_token_s
    return settings.access_token_s
