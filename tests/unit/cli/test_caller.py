"""As whom `ragrid ask` and its like call: a given token, a sign-in, or a role of the grid on this machine."""

import json
from pathlib import Path

import pytest

from ragrid.cli.caller import Caller, grid_of
from ragrid.client.login import login_file
from ragrid.errors import AuthError, UsageError
from ragrid.identity.strict import encode_base64url
from ragrid.system.files import write_atomic

ADDRESS, OTHER = "https://127.0.0.1:8443", "https://127.0.0.1:9443"
FAR_S = 4_000_000_000.0


@pytest.fixture(autouse=True)
def _nobody_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    for name in ("RAGRID_STATE", "RAGRID_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def sign_in(address: str, subject: str) -> str:
    token = f"h.{encode_base64url(json.dumps({'sub': subject}).encode())}.s"
    kept = {"access_token": token, "expires_s": FAR_S, "refresh_token": "r", "address": address, "ca_file": None}
    write_atomic(login_file(address), json.dumps(kept).encode(), mode=0o600)
    return token


def token_of(caller: Caller) -> tuple[str, str]:
    with grid_of(caller, "reader") as grid:
        return grid.address, grid._bearer("test")


def test_a_given_token_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    sign_in(ADDRESS, "ada")
    assert token_of(Caller(address=ADDRESS, token="given")) == (ADDRESS, "given")
    assert token_of(Caller(token="given")) == (ADDRESS, "given"), "the sign-in says where"
    monkeypatch.setenv("RAGRID_TOKEN", "of the shell")
    assert token_of(Caller()) == (ADDRESS, "of the shell")
    assert token_of(Caller(token="given")) == (ADDRESS, "given")


def test_who_is_signed_in_is_used_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    ada, eve = sign_in(ADDRESS, "ada"), sign_in(OTHER, "eve")
    assert token_of(Caller(address=ADDRESS + "/")) == (ADDRESS, ada)
    assert token_of(Caller(address=OTHER)) == (OTHER, eve)
    told = capsys.readouterr()
    assert ("as ada" in told.err, "as eve" in told.err, told.out) == (True, True, "")


def test_without_an_address_the_only_sign_in_is_meant() -> None:
    ada = sign_in(ADDRESS, "ada")
    assert token_of(Caller()) == (ADDRESS, ada)
    sign_in(OTHER, "eve")
    with pytest.raises(UsageError, match=r"--address: got none.*9443"):
        grid_of(Caller(), "reader")


def test_a_secret_of_this_machine_goes_to_no_other_address() -> None:
    with pytest.raises(AuthError, match="nobody is signed in"):
        grid_of(Caller(address=ADDRESS), "reader")


def test_without_a_grid_and_a_sign_in_it_says_how_to_start() -> None:
    with pytest.raises(UsageError, match="ragrid up"):
        grid_of(Caller(), "reader")
