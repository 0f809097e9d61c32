"""What a client may ask of a person, and where the answer may go."""

import base64
import hashlib
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from ragrid.services.tokens.authorization import (
    AuthorizationRequest,
    RedirectError,
    check_verifier,
    read_request,
    redirect_uri_fault,
)
from ragrid.services.tokens.clients import Client
from ragrid.services.tokens.grants import Form, OAuthError, parse_pairs
from support.token_desk import ISSUER, settings_in

SETTINGS = settings_in(Path("/of/no/token/service"))
HOME = "https://app.test/back?x=1"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(b"v" * 43).digest()).rstrip(b"=").decode()
APP = Client(
    client_id="app", tenant="t", roles=(), secret_hash=b"", declared=False, created_s=0, redirect_uris=(HOME,),
    public=True,
)  # fmt: skip
GOOD = {
    "response_type": "code", "client_id": "app", "redirect_uri": HOME, "state": "s", "scope": "memory:read",
    "code_challenge": CHALLENGE, "code_challenge_method": "S256",
}  # fmt: skip


def _form(**changes: str | None) -> Form:
    return Form({name: (value,) for name, value in {**GOOD, **changes}.items() if value is not None})


def test_a_good_request_is_read() -> None:
    assert read_request(_form(), APP, SETTINGS) == AuthorizationRequest(
        client_id="app", redirect_uri=HOME, scope=("memory:read",), audience=("chromadb", "memory", "tokens"),
        state="s", challenge=CHALLENGE,
    )  # fmt: skip
    assert read_request(_form(scope=None, state=None), APP, SETTINGS).scope is None


@pytest.mark.parametrize(
    "uri",
    [None, "", "https://app.test/back", f"{HOME}&y", f"{HOME}#", "https://APP.test/back?x=1", "https://app.test/back/?x=1",
     "https://app.test:443/back?x=1", "https://evil.test/", "//evil.test"],
)  # fmt: skip
def test_nobody_is_sent_to_an_address_that_is_not_registered(uri: str | None) -> None:
    with pytest.raises(OAuthError):
        read_request(_form(redirect_uri=uri, response_type="token"), APP, SETTINGS)
    with pytest.raises(OAuthError):
        read_request(_form(), None, SETTINGS)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"scope": "root:all"}, "invalid_scope"),
        ({"scope": ""}, "invalid_scope"),
        ({"audience": "other"}, "invalid_target"),
        ({"prompt": "none"}, "login_required"),
        ({"request": "x"}, "request_not_supported"),
        ({"state": "s" * 2000}, "invalid_request"),
    ],
)
def test_other_faults_are_told_to_the_client(changes: dict[str, str | None], error: str) -> None:
    with pytest.raises(RedirectError) as caught:
        read_request(_form(**changes), APP, SETTINGS)
    assert caught.value.location.startswith(f"{HOME}&error=")
    told = parse_qs(urlsplit(caught.value.location).query)
    assert (told["error"], told["iss"], told["x"]) == ([error], [ISSUER], ["1"])
    assert "state" in told


def test_a_parameter_that_stands_twice_is_refused() -> None:
    with pytest.raises(OAuthError, match="twice"):
        parse_pairs(b"client_id=a&client_id=b")


@pytest.mark.parametrize("verifier", ["", "v", "w" * 43, "v" * 42 + "\n", "v" * 129, "é" * 43])
def test_another_verifier_does_not_fit(verifier: str) -> None:
    check_verifier("v" * 43, CHALLENGE)
    with pytest.raises(OAuthError):
        check_verifier(verifier, CHALLENGE)


@pytest.mark.parametrize("uri", ["https://a.test/", HOME, "http://127.0.0.1:8123/back", "http://[::1]/back"])
def test_redirect_uris_that_may_be_registered(uri: str) -> None:
    assert redirect_uri_fault(uri) is None


@pytest.mark.parametrize(
    "uri",
    ["", "a", "http://a.test/", "http://localhost/", "https://a.test/#x", "https://a.test#", "https://u@a.test/",
     "https://u:p@a.test/", "javascript:alert(1)", "https:///x", "https://a.test/ x", "https://a.test/é",
     "https://a.test:x/", "https://[::1/", "https://a.test/\n", "data:text/html,x", "https://a.test/" + "x" * 600],
)  # fmt: skip
def test_redirect_uris_that_may_not(uri: str) -> None:
    assert redirect_uri_fault(uri)
