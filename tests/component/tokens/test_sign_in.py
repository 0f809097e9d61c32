"""People sign in: the pages as a browser sees them, codes, devices, passwords."""

import asyncio
import base64
import hashlib
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from lxml import html  # type: ignore[import-untyped]  # it ships no types

from ragrid.errors import UnreachableError
from ragrid.services.tokens.grants import GRANT_TYPES
from ragrid.services.tokens.passwords import AT_ONCE, WAITING_LIMIT, Passwords
from support.browser import Browser
from support.token_service import ISSUER, TokenService, make_service

HOME = "http://127.0.0.1:1/back"
PASSWORD = "correct horse battery staple"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
ASKED = {
    "response_type": "code", "client_id": "app", "redirect_uri": HOME, "state": "<s>&", "scope": "memory:read",
    "code_challenge": CHALLENGE, "code_challenge_method": "S256",
}  # fmt: skip


def add(service: TokenService, name: str, role: str = "reader") -> None:
    body = {"name": name, "password": PASSWORD, "roles": [role]}
    answer = service.http.post("/tokens/v1/users", json=body, headers=service.bearer("root"))
    assert answer.status_code == 201, answer.text
    assert PASSWORD not in answer.text


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenService]:
    """One service with a person, eve, and a public client, app."""
    service = make_service(tmp_path_factory.mktemp("sign-in"))
    try:
        service.start()
        add(service, "eve")
        app = {"client_id": "app", "public": True, "redirect_uris": [HOME]}
        assert service.http.post("/tokens/v1/clients", json=app, headers=service.bearer("root")).status_code == 201
        yield service
    finally:
        service.close()


@pytest.fixture
def browser(house: TokenService) -> Browser:
    return Browser(house.http)


def told(answer: httpx.Response) -> dict[str, list[str]]:
    """What the client is told by the redirect."""
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"].startswith(f"{HOME}?")
    return parse_qs(urlsplit(answer.headers["location"]).query)


def redeem(service: TokenService, code: str) -> httpx.Response:
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": HOME, "code_verifier": VERIFIER}
    return service.http.post("/oauth2/token", data={**form, "client_id": "app"})


def refresh(service: TokenService, token: str) -> httpx.Response:
    form = {"grant_type": "refresh_token", "refresh_token": token, "client_id": "app"}
    return service.http.post("/oauth2/token", data=form)


def introspected(service: TokenService, tokens: dict[str, str]) -> dict[str, object]:
    auth = ("root", service.secrets["root"])
    answer: dict[str, object] = service.http.post(
        "/oauth2/introspect", data={"token": tokens["access_token"]}, auth=auth
    ).json()
    return answer


def sign_in(service: TokenService, browser: Browser, name: str = "eve") -> dict[str, str]:
    browser.open("/oauth2/authorize", **ASKED)
    answer = told(browser.send(name=name, password=PASSWORD, decision="allow"))
    tokens: dict[str, str] = redeem(service, answer["code"][0]).json()
    return tokens


def test_a_person_signs_in_and_the_client_gets_tokens(house: TokenService, browser: Browser) -> None:
    browser.open("/oauth2/authorize", **ASKED)
    assert "app asks to act for you: memory:read. You will be sent to http://127.0.0.1:1/back." in browser.text()
    answer = told(browser.send(name="eve", password=PASSWORD, decision="allow"))
    assert (answer["state"], answer["iss"]) == ([ASKED["state"]], [ISSUER])
    tokens = redeem(house, answer["code"][0]).json()
    assert (tokens["token_type"], tokens["scope"], tokens["expires_in"]) == ("Bearer", "memory:read", 600)
    renewed = refresh(house, tokens["refresh_token"]).json()
    assert refresh(house, tokens["refresh_token"]).json()["error"] == "invalid_grant", "it came twice"
    assert refresh(house, renewed["refresh_token"]).json()["error"] == "invalid_grant", "so the sign-in is over"


def test_the_pages_are_plain_private_and_usable(browser: Browser) -> None:
    for path, query in (("/oauth2/authorize", ASKED), ("/oauth2/device", {})):
        page = browser.open(path, **query)
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert (page.headers["cache-control"], page.headers["x-frame-options"]) == ("no-store", "DENY")
        document = html.fromstring(page.content)
        style = document.xpath("string(//style)")
        assert base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() in policy
        assert document.xpath("//script | //@onclick | //@style | //@src | //link") == []
        assert (document.get("lang"), len(document.xpath("//h1")), len(document.xpath("//title"))) == ("en", 1, 1)
        fields = set(document.xpath("//input[not(@type='hidden')]/@id"))
        assert fields
        assert set(document.xpath("//label/@for")) == fields
    assert (
        "form-action 'self' http://127.0.0.1:1;"
        in browser.open("/oauth2/authorize", **ASKED).headers["content-security-policy"]
    )
    cookie = browser.page.headers["set-cookie"]
    assert {"HttpOnly", "Secure", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))


def test_what_is_typed_never_becomes_markup(browser: Browser) -> None:
    browser.open("/oauth2/authorize", **ASKED)
    browser.send(name="<script>\"'&", password="x", decision="allow")
    assert "<script>" not in browser.page.text
    assert browser.form().fields["name"] == "<script>\"'&"


@pytest.mark.parametrize("name", ["eve", "nobody", "", "e" * 5000])
def test_a_wrong_password_is_told_alike_for_everybody(browser: Browser, name: str) -> None:
    browser.open("/oauth2/authorize", **ASKED)
    answer = browser.send(name=name, password="wrong password", decision="allow")
    assert (answer.status_code, browser.alert()) == (403, "unknown name or wrong password")
    assert "location" not in answer.headers


def test_guessing_is_paused(house: TokenService, browser: Browser) -> None:
    add(house, "guessed")
    browser.open("/oauth2/authorize", **ASKED)
    for _ in range(12):  # where hashing takes long, the first pauses are over before the next guess
        if browser.send(name="guessed", password="wrong password", decision="allow").status_code == 429:
            break
    answer = browser.send(name="guessed", password=PASSWORD, decision="allow")
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert "wait" in browser.alert()


@pytest.mark.parametrize(
    "how", ["no cookie", "other cookie", "changed", "other page", "origin", "null origin", "no seal"]
)
def test_a_form_from_elsewhere_is_refused(browser: Browser, how: str) -> None:
    browser.open("/oauth2/authorize", **ASKED)
    typed = {"name": "eve", "password": PASSWORD, "decision": "allow"}
    headers = {}
    match how:
        case "no cookie":
            browser.cookie = ""
        case "other cookie":
            browser.cookie = f"__Host-ragrid-sign-in={'x' * 43}"
        case "changed":
            content = str(browser.form().fields["content"])
            typed["content"] = content[:-8] + ("A" * 8)
        case "other page":
            other = Browser(browser.http)
            other.open("/oauth2/authorize", **{**ASKED, "state": "attacker"})
            typed["content"] = str(other.form().fields["content"])
        case "origin":
            headers = {"Origin": "https://evil.test"}
        case "null origin":
            headers = {"Origin": "null"}
        case "no seal":
            typed["seal"] = ""
    answer = browser.send(headers, **typed)
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert "That did not work" in browser.text()


def test_our_own_origin_is_let_through(browser: Browser) -> None:
    browser.open("/oauth2/authorize", **ASKED)
    assert "code" in told(browser.send({"Origin": ISSUER}, name="eve", password=PASSWORD, decision="allow"))


def test_a_person_who_says_no_is_believed(browser: Browser) -> None:
    browser.open("/oauth2/authorize", **ASKED)
    assert told(browser.send(decision="deny"))["error"] == ["access_denied"]
    browser.open("/oauth2/authorize", **ASKED)
    assert told(browser.send())["error"] == ["access_denied"], "no decision is no"


@pytest.mark.parametrize(
    "changes", [{"client_id": "nobody"}, {"redirect_uri": "https://evil.test/"}, {"redirect_uri": f"{HOME}/x"}]
)
def test_nobody_is_sent_to_a_stranger(browser: Browser, changes: dict[str, str]) -> None:
    answer = browser.open("/oauth2/authorize", **{**ASKED, **changes})
    assert (answer.status_code, "location" in answer.headers) == (400, False)
    assert "none of its own" in browser.text()


def test_a_request_without_pkce_goes_back_to_the_client(browser: Browser) -> None:
    answer = told(browser.open("/oauth2/authorize", **{**ASKED, "code_challenge_method": "plain"}))
    assert (answer["error"], answer["iss"]) == (["invalid_request"], [ISSUER])


def test_a_device_is_connected(house: TokenService, browser: Browser) -> None:
    begun = house.http.post("/oauth2/device_authorization", data={"client_id": "ragrid", "scope": "memory:read"}).json()
    poll = {"grant_type": GRANT_TYPES[3], "device_code": begun["device_code"], "client_id": "ragrid"}
    assert house.http.post("/oauth2/token", data=poll).json()["error"] == "authorization_pending"
    browser.open("/oauth2/device", user_code="BCDF-BCDF")
    assert "no device waits" in browser.alert()
    browser.open(urlsplit(begun["verification_uri_complete"]).path, user_code=begun["user_code"])
    assert "ragrid asks to act for you: memory:read." in browser.text()
    browser.send(name="eve", password="wrong password", decision="allow")
    assert browser.alert()
    browser.send(name="eve", password=PASSWORD, decision="allow")
    assert "go back to the device" in browser.text()
    assert house.http.post("/oauth2/token", data=poll).json()["scope"] == "memory:read"
    assert house.http.post("/oauth2/token", data=poll).json()["error"] == "invalid_grant"
    assert house.http.post("/oauth2/device_authorization", data={"client_id": "reader"}).status_code == 401


def test_the_metadata_lists_exactly_what_exists(house: TokenService) -> None:
    known = house.http.get("/.well-known/oauth-authorization-server").json()
    for name, value in known.items():
        if name.endswith("_endpoint") or name == "jwks_uri":
            path = value.removeprefix(ISSUER)
            statuses = {house.http.get(path).status_code, house.http.post(path).status_code}
            assert statuses <= {200, 400, 401, 405}, name
    listed = set(known["grant_types_supported"])
    tried = listed | {"password", "implicit", "", "urn:ietf:params:oauth:grant-type:saml2-bearer", "nonsense"}
    answers = {
        grant_type: house.http.post(
            "/oauth2/token", data={"grant_type": grant_type}, auth=("reader", house.secrets["reader"])
        ).json()
        for grant_type in tried
    }
    assert {
        grant_type for grant_type, answer in answers.items() if answer.get("error") == "unsupported_grant_type"
    } == tried - listed - {""}
    assert answers[""]["error"] == "invalid_request"
    assert known["code_challenge_methods_supported"] == ["S256"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": "a b", "password": PASSWORD, "roles": ["reader"]}, "/name"),
        ({"name": "bob", "password": "short", "roles": ["reader"]}, "/password"),
        ({"name": "bob", "password": "x" * 2000, "roles": ["reader"]}, "/password"),
        ({"name": "bob", "password": PASSWORD, "roles": ["king"]}, "/roles"),
        ({"name": "bob", "password": PASSWORD, "roles": []}, "/roles"),
        ({"name": "bob", "roles": ["reader"]}, "/password"),
    ],
)
def test_a_bad_person_is_422(house: TokenService, body: dict[str, object], pointer: str) -> None:
    answer = house.http.post("/tokens/v1/users", json=body, headers=house.bearer("root"))
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
    assert PASSWORD not in answer.text


@pytest.mark.parametrize(
    "body",
    [
        {"client_id": "x", "public": True, "roles": ["reader"]},
        {"client_id": "x", "redirect_uris": ["http://evil.test/"]},
        {"client_id": "x"},
    ],
)
def test_a_bad_client_for_people_is_422(house: TokenService, body: dict[str, object]) -> None:
    assert house.http.post("/tokens/v1/clients", json=body, headers=house.bearer("root")).status_code == 422


def test_a_disabled_person_is_out_and_comes_back_by_signing_in(house: TokenService, browser: Browser) -> None:
    add(house, "dan")
    tokens, admin = sign_in(house, browser, "dan"), house.bearer("root")
    assert introspected(house, tokens)["active"]
    assert house.http.patch("/tokens/v1/users/dan", json={"disabled": True}, headers=admin).status_code == 204
    assert introspected(house, tokens) == {"active": False}
    assert refresh(house, tokens["refresh_token"]).status_code == 400
    browser.open("/oauth2/authorize", **ASKED)
    assert browser.send(name="dan", password=PASSWORD, decision="allow").status_code == 403
    assert house.http.patch("/tokens/v1/users/dan", json={"disabled": False}, headers=admin).status_code == 204
    assert introspected(house, tokens) == {"active": False}
    assert "access_token" in sign_in(house, browser, "dan")
    other = {"password": "another long password"}
    assert house.http.patch("/tokens/v1/users/dan", json=other, headers=admin).status_code == 204
    browser.open("/oauth2/authorize", **ASKED)
    assert browser.send(name="dan", password=PASSWORD, decision="allow").status_code == 403
    assert told(browser.send(name="dan", password=other["password"], decision="allow"))["code"]
    assert house.http.patch("/tokens/v1/users/ghost", json={"disabled": True}, headers=admin).status_code == 404
    assert house.http.patch("/tokens/v1/users/dan", json={}, headers=admin).status_code == 422


def test_a_sign_in_survives_a_kill(service: TokenService) -> None:
    service.start()
    add(service, "eve")
    app = {"client_id": "app", "public": True, "redirect_uris": [HOME]}
    service.http.post("/tokens/v1/clients", json=app, headers=service.bearer("root"))
    tokens = sign_in(service, Browser(service.http))
    assert service.end(signal.SIGKILL) == -signal.SIGKILL
    service.start()
    assert refresh(service, tokens["refresh_token"]).status_code == 200
    assert refresh(service, tokens["refresh_token"]).status_code == 400
    assert PASSWORD not in service.log


def test_a_revoked_refresh_token_ends_the_sign_in(house: TokenService, browser: Browser) -> None:
    tokens = sign_in(house, browser)
    form = {"token": tokens["refresh_token"], "client_id": "app"}
    assert house.http.post("/oauth2/revoke", data=form).status_code == 200
    assert refresh(house, tokens["refresh_token"]).status_code == 400
    assert introspected(house, tokens) == {"active": False}
    assert house.http.post("/oauth2/introspect", data=form).status_code == 401, "public clients may not look"


def test_passwords_are_argon2id_and_not_stored(house: TokenService) -> None:
    content = b"".join(path.read_bytes() for path in Path(house.data).iterdir())
    assert b"$argon2id$v=19$m=65536,t=3,p=4$" in content
    assert PASSWORD.encode() not in content


async def test_only_so_many_passwords_are_looked_at_at_once() -> None:
    passwords = Passwords()
    try:
        known = await passwords.hash(PASSWORD)
        assert await passwords.fits(PASSWORD, known)
        assert not await passwords.fits(PASSWORD, None)
        assert not await passwords.fits("nobody has this password", None)
        assert not await passwords.fits(PASSWORD, "damaged")
        many = AT_ONCE + WAITING_LIMIT + 5
        outcomes = await asyncio.gather(*(passwords.fits("x", known) for _ in range(many)), return_exceptions=True)
    finally:
        passwords.close()
    assert sum(isinstance(one, UnreachableError) for one in outcomes) == 5
    assert sum(one is False for one in outcomes) == many - 5
