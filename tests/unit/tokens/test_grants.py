import base64
from typing import Any

import pytest

from ragrid.identity.roles import BUILTIN_ROLES
from ragrid.services.tokens.clients import Client, hash_secret
from ragrid.services.tokens.grants import Credentials, Grant, OAuthError, credentials_of, decide, metadata, parse_form
from ragrid.spec.settings import Listen, TokensSettings

FORM = "application/x-www-form-urlencoded"
SETTINGS = TokensSettings(
    listen=Listen(port=0),
    issuer="https://grid.test",
    audiences=("chromadb", "memory"),
    data_directory=None,  # type: ignore[arg-type]  # nothing here touches the disk
    roles=dict(BUILTIN_ROLES),
    clients=(),
)


def _client(*roles: str) -> Client:
    return Client(
        client_id="ada", tenant="default_tenant", roles=roles, secret_hash=hash_secret("x"), declared=False, created_s=0
    )


def _decide(body: str, *roles: str) -> Grant:
    return decide(parse_form(body.encode(), FORM), _client(*roles), SETTINGS)


def _basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def test_the_default_is_everything_that_the_roles_allow() -> None:
    grant = _decide("grant_type=client_credentials", "reader")
    assert grant == Grant(("chromadb", "memory", "tokens"), tuple(sorted(BUILTIN_ROLES["reader"])), 600.0)


@pytest.mark.parametrize(
    ("roles", "lifetime_s"),
    [
        (("reader",), 600.0), (("memory-service",), 86_400.0), (("memory-service", "vllm-service"), 86_400.0),
        (("memory-service", "reader"), 600.0),
    ],
)  # fmt: skip
def test_only_services_get_the_long_time(roles: tuple[str, ...], lifetime_s: float) -> None:
    assert _decide("grant_type=client_credentials", *roles).lifetime_s == lifetime_s


@pytest.mark.parametrize(
    ("body", "audience", "permissions"),
    [
        ("scope=memory:read", ("chromadb", "memory", "tokens"), ("memory:read",)),
        ("scope=vllm:infer+memory:read", ("chromadb", "memory", "tokens"), ("memory:read", "vllm:infer")),
        ("scope=memory:read&audience=memory", ("memory",), ("memory:read",)),
        ("scope=memory:read&resource=memory&resource=chromadb", ("chromadb", "memory"), ("memory:read",)),
    ],
)
def test_a_request_narrows(body: str, audience: tuple[str, ...], permissions: tuple[str, ...]) -> None:
    grant = _decide(f"grant_type=client_credentials&{body}", "reader")
    assert (grant.audience, grant.permissions) == (audience, permissions)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("grant_type=client_credentials&grant_type=client_credentials", "invalid_request"),
        ("grant_type=client_credentials&scope=", "invalid_scope"),
        ("grant_type=client_credentials&scope=memory:write", "invalid_scope"),
        ("grant_type=client_credentials&scope=memory:read++vllm:infer", "invalid_scope"),
        ("grant_type=client_credentials&scope=tokens:admin", "invalid_scope"),
        ("grant_type=client_credentials&scope=*", "invalid_scope"),
        ("grant_type=client_credentials&audience=other", "invalid_target"),
        ("grant_type=client_credentials&resource=https://evil.test", "invalid_target"),
        ("grant_type", "invalid_request"),
        ("grant_type=%ff", "invalid_request"),
        ("a=1&" * 40 + "b=1", "invalid_request"),
    ],
)
def test_a_request_that_is_refused(body: str, code: str) -> None:
    with pytest.raises(OAuthError) as caught:
        _decide(body, "reader")
    assert caught.value.code == code
    answer = caught.value.response()
    assert answer.status_code == 400
    assert answer.headers["cache-control"] == "no-store"
    assert f'"error": "{code}"'.encode() in answer.body


@pytest.mark.parametrize("kind", [None, "", "application/json", "multipart/form-data", "text/plain"])
def test_a_body_that_is_no_form_is_refused(kind: str | None) -> None:
    with pytest.raises(OAuthError, match="form-urlencoded"):
        parse_form(b"grant_type=client_credentials", kind)


def test_a_form_with_a_charset_is_a_form() -> None:
    assert parse_form(b"a=b", f"{FORM}; charset=UTF-8").one("a") == "b"


@pytest.mark.parametrize(
    ("body", "authorization", "wanted"),
    [
        ("a=b", _basic("ada:s3"), Credentials("ada", "s3")),
        ("a=b", _basic("a%20b:s%3A3"), Credentials("a b", "s:3")),
        ("a=b", _basic("ada:s:3"), Credentials("ada", "s:3")),
        ("client_id=ada&client_secret=s3", None, Credentials("ada", "s3")),
        ("client_id=ada", None, Credentials("ada", "")),
        ("client_id=ada&client_secret=", None, Credentials("ada", "")),
    ],
)
def test_every_way_of_client_authentication(body: str, authorization: str | None, wanted: Credentials) -> None:
    assert credentials_of(parse_form(body.encode(), FORM), authorization) == wanted


@pytest.mark.parametrize(
    ("body", "authorization", "status"),
    [
        ("a=b", None, 401), ("client_secret=x", None, 401), ("a=b", "Bearer x", 401), ("a=b", "Basic", 401),
        ("a=b", "Basic ***", 401), ("a=b", _basic("ada"), 401), ("a=b", _basic(":x"), 401),
        ("a=b", _basic("ada:"), 401),
        ("a=b", "Basic " + base64.b64encode(b"\xff:\xff").decode(), 401),
        ("client_id=ada&client_secret=x", _basic("ada:x"), 400),
    ],
)  # fmt: skip
def test_no_or_double_authentication_is_refused(body: str, authorization: str | None, status: int) -> None:
    with pytest.raises(OAuthError) as caught:
        credentials_of(parse_form(body.encode(), FORM), authorization)
    assert caught.value.status == status
    assert ("WWW-Authenticate" in caught.value.headers) == (status == 401)


def test_secrets_are_in_no_repr() -> None:
    assert "s3cret" not in repr(Credentials("ada", "s3cret"))


def test_the_metadata_names_endpoints_of_the_public_address() -> None:
    known: dict[str, Any] = metadata(SETTINGS)
    assert known["issuer"] == "https://grid.test"
    assert {"token_endpoint", "jwks_uri", "response_types_supported"} <= known.keys()
    assert known["token_endpoint"] == "https://grid.test/oauth2/token"
