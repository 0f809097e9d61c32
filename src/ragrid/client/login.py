"""Signing in from a command line (RFC 8628), and the tokens that it keeps in a private file."""

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ragrid.client.calls import Call, form_call
from ragrid.client.refusals import RefusedError
from ragrid.client.renewal import SPARE_S
from ragrid.client.synchronous import GridClient
from ragrid.errors import AuthError, UnreachableError
from ragrid.system.clock import Clock, SystemClock
from ragrid.system.files import PRIVATE, write_atomic

#: The public client that every grid has for this.
CLIENT_ID = "ragrid"
#: An access token is renewed this long before its end, seconds.
MARGIN_S = 30.0


class DeviceCodes(msgspec.Struct, frozen=True, kw_only=True):
    """What a person has to open and type, and what we ask with meanwhile."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: float
    interval: float = 5.0

    def __repr__(self) -> str:
        return f"DeviceCodes(user_code={self.user_code!r})"


class LoginTokens(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens of one sign-in; not shown when the value is printed."""

    access_token: str
    expires_in: float
    refresh_token: str
    scope: str = ""

    def __repr__(self) -> str:
        return f"LoginTokens(expires_in={self.expires_in:g}, scope={self.scope!r})"


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    access_token: str
    expires_s: float
    refresh_token: str
    address: str = ""
    ca_file: str | None = None


@dataclass(frozen=True, slots=True)
class SignIn:
    """A sign-in that is kept on this machine: where it is good, and what the grid there is verified with."""

    address: str
    ca_file: Path | None
    file: Path


def begin(scope: str | None) -> Call[DeviceCodes]:
    """Ask for the codes of a new sign-in."""
    form = {"client_id": CLIENT_ID, **({"scope": scope} if scope else {})}
    return form_call("/oauth2/device_authorization", DeviceCodes, form)


def poll(codes: DeviceCodes) -> Call[LoginTokens]:
    """Ask whether the person has allowed it."""
    grant_type = "urn:ietf:params:oauth:grant-type:device_code"
    form = {"grant_type": grant_type, "device_code": codes.device_code, "client_id": CLIENT_ID}
    return form_call("/oauth2/token", LoginTokens, form)


def refresh(token: str) -> Call[LoginTokens]:
    """Ask for new tokens; the refresh token is worthless afterwards."""
    form = {"grant_type": "refresh_token", "refresh_token": token, "client_id": CLIENT_ID}
    return form_call("/oauth2/token", LoginTokens, form)


def end(token: str) -> Call[None]:
    """Sign out."""
    return form_call("/oauth2/revoke", type(None), {"token": token, "client_id": CLIENT_ID})


def wait_for_person(
    client: GridClient, codes: DeviceCodes, *, clock: Clock | None = None, sleep: Callable[[float], None] = time.sleep
) -> LoginTokens:
    """Return the tokens once the person has allowed it.

    Raises AuthError when they said no or took too long.
    """
    clock = clock or SystemClock()
    until_s = clock.monotonic_s() + codes.expires_in
    interval_s = codes.interval
    while clock.monotonic_s() < until_s:
        sleep(interval_s)
        try:
            return client.send(poll(codes))
        except RefusedError as error:
            if error.code == "slow_down":
                interval_s += 5.0
            elif error.code != "authorization_pending":
                raise AuthError(f"{error}; run `ragrid login` again") from error
    raise AuthError("nobody allowed it in time; run `ragrid login` again")


def login_file(address: str) -> Path:
    """Return where the sign-in at a grid's address is kept: below $XDG_CONFIG_HOME, else ~/.config."""
    return _folder() / f"{re.sub(r'[^A-Za-z0-9.-]+', '_', address)}.json"


def sign_ins() -> list[SignIn]:
    """Return the sign-ins that are kept on this machine, by address; a file that is none is left out."""
    found = []
    for file in sorted(_folder().glob("*.json")):
        with contextlib.suppress(AuthError):
            kept = _read(file)
            ca_file = None if kept.ca_file is None else Path(kept.ca_file)
            found.append(SignIn(kept.address, ca_file, file))
    return found


def _folder() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME")
    base = Path(home) if home else Path.home() / ".config"
    return base / "ragrid" / "logins"


class CachedLogin:
    """Give it to `GridClient(token=…)`: the access token of the last sign-in, renewed when it nears its end.

    The file has mode 0600. Several processes may share it: one renews while the others wait, because a refresh token
    that is used twice ends the sign-in.
    """

    def __init__(
        self, path: Path, client: GridClient, *, ca_file: Path | None = None, clock: Clock | None = None
    ) -> None:
        """`ca_file` is what `client` verifies the grid with; it is kept beside the tokens."""
        self._path = path
        self._client = client
        self._ca_file = ca_file
        self._clock = clock or SystemClock()

    def close(self) -> None:
        """Close the connections that tokens are renewed over."""
        self._client.close()

    def keep(self, tokens: LoginTokens) -> None:
        """Write the tokens of a sign-in."""
        kept = _Kept(
            access_token=tokens.access_token,
            expires_s=self._clock.now_s() + tokens.expires_in,
            refresh_token=tokens.refresh_token,
            address=self._client.address,
            ca_file=None if self._ca_file is None else str(self._ca_file.absolute()),
        )
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(self._path, msgspec.json.encode(kept), mode=PRIVATE)

    def __call__(self) -> str:
        """Return an access token that is good for at least a moment.

        Raises AuthError when nobody is signed in, UnreachableError when the token has ended and nobody renews it.
        """
        with self._locked():
            kept = _read(self._path)
            left_s = kept.expires_s - self._clock.now_s()
            if left_s > MARGIN_S:
                return kept.access_token
            try:
                tokens = self._client.send(refresh(kept.refresh_token))
            except RefusedError as error:
                raise AuthError(f"the sign-in is over: {error}; run `ragrid login`") from error
            except UnreachableError:
                if left_s <= SPARE_S:
                    raise
                return kept.access_token
            self.keep(tokens)
            return tokens.access_token

    def end(self) -> None:
        """Sign out and forget the tokens. Raises AuthError when nobody is signed in."""
        with self._locked():
            self._client.send(end(_read(self._path).refresh_token))
            self._path.unlink()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _read(path: Path) -> _Kept:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Kept)
    except FileNotFoundError as error:
        raise AuthError("nobody is signed in at this grid; run `ragrid login`") from error
    except (OSError, msgspec.MsgspecError) as error:
        raise AuthError(f"{path}: not readable as a sign-in: {error}; run `ragrid login` again") from error
