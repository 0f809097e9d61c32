"""Codes, refresh tokens and devices: each gives tokens once, and a second use ends the sign-in."""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import pytest

from ragrid.services.tokens.attempts import Attempts
from ragrid.services.tokens.authorization import AuthorizationRequest
from ragrid.services.tokens.clients import Client
from ragrid.services.tokens.devices import DEVICE_S, INTERVAL_S, WRONG_CODES_BURST, Devices
from ragrid.services.tokens.exchange import ACCESS_TOKEN, Exchange
from ragrid.services.tokens.grants import Credentials, Form, OAuthError
from ragrid.services.tokens.issuer import IssuedToken
from ragrid.services.tokens.people_store import digest
from ragrid.services.tokens.seal import SEAL_S, Seal, nonce_of
from ragrid.services.tokens.sign_ins import CODE_S, SignIns
from ragrid.services.tokens.throttle import FREE_FAILURES, LONGEST_PAUSE_S
from ragrid.services.tokens.users import Users
from support.token_desk import Desk

HOME = "https://app.test/back"
VERIFIER = "v" * 43
DAY_S = 86_400.0


def form(**members: str) -> Form:
    return Form({name: (value,) for name, value in members.items()})


@dataclass
class House:
    """A desk with one person, eve (a writer), and one public client, app."""

    desk: Desk
    sign_ins: SignIns

    @property
    def app(self) -> Client:
        return self.desk.issuer.identify(Credentials("app", ""))

    def code(self, *, scope: tuple[str, ...] | None = None) -> str:
        challenge = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
        request = AuthorizationRequest(
            client_id="app", redirect_uri=HOME, scope=scope, audience=("memory",), state=None, challenge=challenge
        )
        return parse_qs(urlsplit(self.sign_ins.allow(request, "eve")).query)["code"][0]

    def redeem(self, code: str, client: Client | None = None, **changes: str) -> IssuedToken:
        wanted = {"code": code, "redirect_uri": HOME, "code_verifier": VERIFIER, **changes}
        return self.sign_ins.redeem(form(**wanted), client or self.app)

    def refresh(self, token: IssuedToken, client: Client | None = None, **more: str) -> IssuedToken:
        assert token.refresh_token
        return self.sign_ins.refresh(form(refresh_token=token.refresh_token, **more), client or self.app)

    def is_good(self, token: IssuedToken) -> bool:
        return bool(self.desk.issuer.introspect(token.access_token, self.desk.client("root"))["active"])


@pytest.fixture
def house(desk: Desk) -> House:
    desk.person("eve", "writer")
    desk.issuer.clientele.create("app", tenant="t", roles=(), by="root", redirect_uris=(HOME,), public=True)
    desk.issuer.clientele.create("web", tenant="t", roles=(), by="root", redirect_uris=(HOME,), public=True)
    return House(desk, desk.sign_ins())


def refused(code: str, attempt: Callable[[], object]) -> None:
    with pytest.raises(OAuthError) as caught:
        attempt()
    assert caught.value.code == code


def test_a_person_signs_in_with_their_own_rights(house: House) -> None:
    issued = house.redeem(house.code())
    claims = house.desk.verifier(house.desk.issuer.keyring.jwks).verify(issued.access_token)
    assert (claims.subject, claims.client_id, claims.tenant, claims.roles) == ("eve", "app", "team", ("writer",))
    assert "memory:write" in claims.permissions
    assert "tokens:admin" not in claims.permissions
    assert claims.audience == ("memory",)
    issued = house.redeem(house.code(scope=("memory:read", "tokens:admin")))
    assert issued.scope == "memory:read", "a client that asks for more gets what the person has"
    line = house.desk.lines()[-1]
    assert (line.event, line.client_id, line.subject) == ("token-issued", "app", "eve")


@pytest.mark.parametrize("fault", ["twice", "late", "verifier", "uri", "client", "unknown"])
def test_a_code_is_good_for_one_try(house: House, fault: str) -> None:
    code = house.code()
    match fault:
        case "twice":
            issued = house.redeem(code)
            refused("invalid_grant", lambda: house.redeem(code))
            assert not house.is_good(issued), "tokens of a stolen code die"
            refused("invalid_grant", lambda: house.refresh(issued))
        case "late":
            house.desk.clock.advance(CODE_S)
            refused("invalid_grant", lambda: house.redeem(code))
        case "verifier":
            refused("invalid_grant", lambda: house.redeem(code, code_verifier="w" * 43))
        case "uri":
            refused("invalid_grant", lambda: house.redeem(code, redirect_uri=f"{HOME}/"))
        case "client":
            refused("invalid_grant", lambda: house.redeem(code, house.desk.issuer.identify(Credentials("web", ""))))
        case "unknown":
            refused("invalid_grant", lambda: house.redeem("x" * 43))
            return
    refused("invalid_grant", lambda: house.redeem(code))


def test_refresh_tokens_rotate_and_access_tokens_go_on(house: House) -> None:
    first = house.redeem(house.code())
    second = house.refresh(first)
    third = house.refresh(second, scope="memory:read")
    assert third.scope == "memory:read"
    assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3
    assert all(house.is_good(one) for one in (first, second, third))
    assert house.refresh(third).scope == first.scope, "a narrower token does not narrow the sign-in"


def test_a_refresh_token_that_comes_twice_ends_the_sign_in(house: House) -> None:
    first = house.redeem(house.code())
    other = house.redeem(house.code())
    second = house.refresh(first)
    before = house.desk.issuer.revision
    refused("invalid_grant", lambda: house.refresh(first))
    assert house.desk.issuer.revision != before
    assert not house.is_good(first)
    assert not house.is_good(second)
    assert house.is_good(other), "another sign-in of the same person goes on"
    refused("invalid_grant", lambda: house.refresh(second))
    assert [line.event for line in house.desk.lines()][-1] == "sign-in-ended"


def test_a_token_that_a_service_got_for_the_person_ends_with_the_sign_in(house: House) -> None:
    first = house.redeem(house.code())
    swap = Exchange(house.desk.settings(), house.desk.store, house.desk.issuer, house.desk.clock).swap
    swapped = swap(form(subject_token=first.access_token, subject_token_type=ACCESS_TOKEN), house.desk.client("memory"))
    assert house.is_good(swapped)
    assert house.sign_ins.revoke(first.refresh_token or "", house.app)
    assert not house.is_good(swapped)


def test_a_refused_scope_does_not_use_up_the_refresh_token(house: House) -> None:
    first = house.redeem(house.code(scope=("memory:read",)))
    refused("invalid_scope", lambda: house.refresh(first, scope="memory:write"))
    assert house.refresh(first).scope == "memory:read"


def test_a_stolen_refresh_token_is_no_use_to_another_client(house: House) -> None:
    first = house.redeem(house.code())
    refused("invalid_grant", lambda: house.refresh(first, house.desk.issuer.identify(Credentials("web", ""))))
    refused("invalid_grant", lambda: house.refresh(first))


def test_sign_ins_end_when_unused_for_a_week_and_after_a_month(house: House) -> None:
    unused, used = house.redeem(house.code()), house.redeem(house.code())
    for _ in range(4):
        house.desk.clock.advance(7 * DAY_S - 1)
        used = house.refresh(used)
    refused("invalid_grant", lambda: house.refresh(unused))
    house.desk.clock.advance(3 * DAY_S)
    refused("invalid_grant", lambda: house.refresh(used))
    house.sign_ins.tend()
    for table in ("sign_ins", "codes", "refresh_tokens", "sign_in_tokens"):
        assert house.desk.store.rows(f"SELECT count(*) FROM {table}") == [(0,)], table  # noqa: S608 - a name above


@pytest.mark.parametrize("how", ["disabled", "password", "subject", "client", "deleted", "revoked"])
def test_what_ends_a_sign_in_ends_its_tokens(house: House, how: str) -> None:
    issued = house.redeem(house.code())
    users, clientele = Users(house.desk.store, house.desk.issuer, house.desk.clock), house.desk.issuer.clientele
    match how:
        case "disabled":
            assert users.set_disabled("eve", disabled=True, by="root")
        case "password":
            assert users.set_password("eve", "another", by="root")
        case "subject":
            clientele.revoke_all("subject", "eve", by="root")
        case "client":
            clientele.revoke_all("client", "app", by="root")
        case "deleted":
            assert clientele.delete("app", by="root")
        case "revoked":
            assert house.sign_ins.revoke(issued.refresh_token or "", house.app)
    assert not house.is_good(issued)
    if how != "deleted":
        refused("invalid_grant", lambda: house.refresh(issued))
    house.desk.start()
    assert not house.is_good(issued)


def test_rights_that_a_person_loses_are_gone_with_the_next_token(house: House) -> None:
    issued = house.redeem(house.code())
    house.desk.store.rows("UPDATE users SET roles = '[\"reader\"]'")
    assert "memory:write" not in house.refresh(issued).scope


def test_nothing_that_gives_tokens_is_stored_in_clear(house: House) -> None:
    code = house.code()
    issued = house.redeem(code)
    begun = Devices(house.desk.settings(), house.desk.store, house.sign_ins, house.desk.clock).begin(form(), house.app)
    stored = "".join(
        repr(house.desk.store.rows(f"SELECT * FROM {table}"))  # noqa: S608 - a name from the next line
        for table in ("audit", "codes", "devices", "refresh_tokens", "sign_ins", "sign_in_tokens", "users")
    )
    assert repr(digest(code)) in stored
    files = [path.read_bytes() for path in (house.desk.folder / "data").glob("*")]
    for secret in (code, issued.refresh_token or "", issued.access_token, begun["device_code"]):
        assert secret not in stored
        assert all(secret.encode() not in content for content in files)


def test_a_name_is_one_person_or_one_client(house: House) -> None:
    with pytest.raises(Exception, match="already"):
        house.desk.person("ada")
    with pytest.raises(Exception, match="already"):
        house.desk.person("eve")
    with pytest.raises(Exception, match="already"):
        house.desk.issuer.clientele.create("eve", tenant="t", roles=("reader",), by="root")


@pytest.fixture
def devices(house: House) -> Devices:
    return Devices(house.desk.settings(), house.desk.store, house.sign_ins, house.desk.clock)


def test_a_device_waits_is_allowed_and_gets_tokens_once(house: House, devices: Devices) -> None:
    begun = devices.begin(form(scope="memory:read"), house.app)
    asked = form(device_code=begun["device_code"])
    refused("authorization_pending", lambda: devices.poll(asked, house.app))
    refused("slow_down", lambda: devices.poll(asked, house.app))
    house.desk.clock.advance(INTERVAL_S + 5)
    refused("authorization_pending", lambda: devices.poll(asked, house.app))
    typed = begun["user_code"].lower().replace("-", " ")
    assert devices.find(typed).client_id == "app"
    devices.decide(devices.find(typed).user_code, allowed_by="eve")
    refused("invalid_grant", lambda: devices.find(typed))
    refused("invalid_grant", lambda: devices.poll(asked, house.desk.issuer.identify(Credentials("web", ""))))
    issued = devices.poll(asked, house.app)
    assert (issued.scope, house.is_good(issued)) == ("memory:read", True)
    refused("invalid_grant", lambda: devices.poll(asked, house.app))
    assert house.refresh(issued).scope == "memory:read"


def test_a_device_is_denied_or_comes_too_late(house: House, devices: Devices) -> None:
    begun = devices.begin(form(), house.app)
    devices.decide(begun["user_code"], allowed_by=None)
    refused("access_denied", lambda: devices.poll(form(device_code=begun["device_code"]), house.app))
    begun = devices.begin(form(), house.app)
    house.desk.clock.advance(DEVICE_S)
    refused("expired_token", lambda: devices.poll(form(device_code=begun["device_code"]), house.app))
    refused("invalid_grant", lambda: devices.decide(begun["user_code"], allowed_by="eve"))


def test_only_so_many_devices_wait(house: House) -> None:
    desk = house.desk
    devices = Devices(desk.settings(), desk.store, house.sign_ins, desk.clock, waiting_limit=3)
    for _ in range(3):
        devices.begin(form(), house.app)
    refused("slow_down", lambda: devices.begin(form(), house.app))
    house.desk.clock.advance(DEVICE_S)
    assert devices.begin(form(), house.app)["user_code"]


def test_guessing_user_codes_is_slowed_down(house: House, devices: Devices) -> None:
    for _ in range(WRONG_CODES_BURST):
        refused("invalid_grant", lambda: devices.find("BCDF-GHJK"))
    refused("slow_down", lambda: devices.find("BCDF-GHJK"))
    begun = devices.begin(form(), house.app)
    assert devices.find(begun["user_code"]).client_id == "app", "right ones are answered all the same"


def test_guessing_passwords_is_paused_and_right_ones_wait_too(house: House) -> None:
    users = Users(house.desk.store, house.desk.issuer, house.desk.clock)
    assert users.begin_attempt("eve") == "-"
    users.end_attempt("eve", fits=True)
    for _ in range(FREE_FAILURES + 1):
        users.begin_attempt("eve")
        refused("access_denied", lambda: users.end_attempt("eve", fits=False))
    with pytest.raises(OAuthError) as caught:
        users.begin_attempt("eve")
    assert caught.value.status == 429
    assert users.begin_attempt("nobody") is None
    house.desk.clock.advance(2)
    assert users.begin_attempt("eve") == "-"
    assert [line.event for line in house.desk.lines()].count("sign-in-refused") == FREE_FAILURES + 1


def test_many_guesses_at_once_are_counted_before_they_are_looked_at(house: House) -> None:
    users = Users(house.desk.store, house.desk.issuer, house.desk.clock)
    for _ in range(FREE_FAILURES + 1):
        users.begin_attempt("eve")
    refused("access_denied", lambda: users.begin_attempt("eve"))


def test_a_restart_forgives_no_guess_and_a_clock_set_back_makes_no_pause_of_days(house: House) -> None:
    desk = house.desk
    for _ in range(FREE_FAILURES + 1):
        assert Attempts(desk.store, desk.clock).begin("eve") == 0
    desk.start()
    attempts = Attempts(desk.store, desk.clock)
    assert 0 < attempts.begin("eve") <= 1
    assert attempts.begin("bob") == 0
    desk.clock.step_wall(-DAY_S)
    assert 0 < attempts.begin("eve") <= LONGEST_PAUSE_S
    desk.clock.step_wall(DAY_S + 1)
    assert attempts.begin("eve") == 0
    assert 1 < attempts.begin("eve") <= 2, "the next pause is twice as long"


def test_a_million_names_take_no_more_room(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragrid.services.tokens.attempts.REMEMBERED", 3)
    attempts = Attempts(house.desk.store, house.desk.clock)
    for name in ("a", "b\0", "c" * 100_000, "d\ud800", "e"):
        attempts.begin(name)
        house.desk.clock.advance(1)
    assert house.desk.store.rows("SELECT count(*) FROM attempts") == [(3,)]


def test_a_seal_holds_for_one_browser_one_form_and_ten_minutes(desk: Desk) -> None:
    seal, nonce = Seal(desk.store.form_key(), desk.clock), nonce_of(None)
    made = seal.make(nonce, "content")
    assert seal.holds(made, nonce, "content")
    assert not seal.holds(made, nonce, "other")
    assert not seal.holds(made, nonce_of(None), "content")
    assert not seal.holds(made, None, "content")
    assert not Seal(b"another key", desk.clock).holds(made, nonce, "content")
    desk.start()
    assert Seal(desk.store.form_key(), desk.clock).holds(made, nonce, "content"), "a restart, or another replica"
    for bad in ("", ".", "9.9", made + "0", "9" + made, "é.é"):
        assert not seal.holds(bad, nonce, "content")
    desk.clock.advance(SEAL_S)
    assert not seal.holds(made, nonce, "content")
    assert nonce_of(nonce) == nonce
    assert nonce_of("<script>") != "<script>"
