"""A sign-in that is kept in a file: used, renewed in time, used to its end when nobody renews it."""

import json
from pathlib import Path

import httpx
import pytest

from ragrid.client import GridClient
from ragrid.client.login import CachedLogin, LoginTokens, login_file, sign_ins
from ragrid.errors import AuthError, UnreachableError
from ragrid.system.clock import ManualClock

ADDRESS = "https://grid.test:8443"
LIFE_S = 600


class TokenService:
    """Takes each refresh token once and answers the next."""

    def __init__(self) -> None:
        self.renewals = 0
        self.fails: Exception | httpx.Response | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if isinstance(self.fails, Exception):
            raise self.fails
        if self.fails is not None:
            return self.fails
        assert f"refresh_token=r{self.renewals}&" in request.content.decode()
        self.renewals += 1
        tokens = {"access_token": f"a{self.renewals}", "refresh_token": f"r{self.renewals}", "expires_in": LIFE_S}
        return httpx.Response(200, json=tokens)


@pytest.fixture
def service() -> TokenService:
    return TokenService()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: TokenService, clock: ManualClock) -> CachedLogin:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    client = GridClient(ADDRESS, transport=httpx.MockTransport(service))
    login = CachedLogin(login_file(client.address), client, ca_file=Path("/etc/ca.crt"), clock=clock)
    login.keep(LoginTokens(access_token="a0", refresh_token="r0", expires_in=LIFE_S))
    return login


def test_it_is_renewed_when_it_nears_its_end(login: CachedLogin, service: TokenService, clock: ManualClock) -> None:
    assert login() == "a0"
    clock.advance(LIFE_S - 40)
    assert (login(), service.renewals) == ("a0", 0)
    clock.advance(20)
    assert [login(), login()] == ["a1", "a1"]
    clock.advance(LIFE_S * 5)
    assert login() == "a2", "an access token that is over is renewed as well"


def test_a_dead_token_service_is_survived_until_the_token_ends(
    login: CachedLogin, service: TokenService, clock: ManualClock
) -> None:
    service.fails = httpx.ConnectError("refused")
    clock.advance(LIFE_S - 20)
    assert login() == "a0"
    clock.advance(16)
    with pytest.raises(UnreachableError):
        login()
    service.fails = None
    assert login() == "a1"


def test_a_sign_in_that_is_over_is_told(login: CachedLogin, service: TokenService, clock: ManualClock) -> None:
    service.fails = httpx.Response(400, json={"error": "invalid_grant"})
    clock.advance(LIFE_S)
    with pytest.raises(AuthError, match="run `ragrid login`"):
        login()


def test_where_one_is_signed_in_is_known(login: CachedLogin, tmp_path: Path, clock: ManualClock) -> None:
    clock.advance(LIFE_S)
    login()
    (tmp_path / "ragrid" / "logins" / "broken.json").write_text("{")
    [kept] = sign_ins()
    assert (kept.address, kept.ca_file) == (ADDRESS, Path("/etc/ca.crt"))
    assert kept.file.stat().st_mode & 0o777 == 0o600
    assert set(json.loads(kept.file.read_bytes())) >= {"access_token", "refresh_token"}


def test_nobody_is_signed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: TokenService) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert sign_ins() == []
    with pytest.raises(AuthError, match="nobody is signed in"):
        CachedLogin(login_file(ADDRESS), GridClient(ADDRESS, transport=httpx.MockTransport(service)))()
