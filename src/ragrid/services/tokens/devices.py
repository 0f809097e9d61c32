"""Signing in on a device that has no browser (RFC 8628): `ragrid login`."""

import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from ragrid.services.tokens.authorization import asked_scope
from ragrid.services.tokens.clients import Client
from ragrid.services.tokens.grants import Form, OAuthError, audience_of, audiences_of
from ragrid.services.tokens.issuer import IssuedToken
from ragrid.services.tokens.people_store import Device, DeviceState, PeopleStore
from ragrid.services.tokens.sign_ins import SignIns
from ragrid.services.tokens.store import Store
from ragrid.services.tokens.throttle import Budget
from ragrid.spec.settings import TokensSettings
from ragrid.system.clock import Clock

#: RFC 8628 section 6.1: no vowels, so that no words come out; 20^8 codes, and each lives for ten minutes.
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
_LENGTH = 8
DEVICE_S = 600.0
INTERVAL_S = 5
#: Wrong user codes that are answered, a second in the long run: guessing one of a few live codes takes centuries.
WRONG_CODES_PER_S, WRONG_CODES_BURST = 5.0, 50
#: Devices that may wait at once: anybody can begin, and each is a row on the disk for ten minutes.
WAITING_LIMIT = 1000
#: Devices whose asking is timed at once.
REMEMBERED = 4096


@dataclass(slots=True)
class _Asking:
    interval_s: float
    next_s: float


class Devices:
    """Devices that wait for a person."""

    def __init__(
        self,
        settings: TokensSettings,
        store: Store,
        sign_ins: SignIns,
        clock: Clock,
        *,
        waiting_limit: int = WAITING_LIMIT,
    ) -> None:
        self._waiting_limit = waiting_limit
        self._settings = settings
        self._store = store
        self._people = PeopleStore(store)
        self._sign_ins = sign_ins
        self._clock = clock
        self._asking: OrderedDict[str, _Asking] = OrderedDict()
        self._wrong = Budget(clock, per_s=WRONG_CODES_PER_S, burst=WRONG_CODES_BURST)

    def begin(self, form: Form, client: Client) -> dict[str, Any]:
        """Return the codes of a device that wants to act for a person (RFC 8628 section 3.2)."""
        secret = secrets.token_urlsafe(32)
        letters = "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
        device = Device(
            user_code=letters,
            client_id=client.client_id,
            scope=asked_scope(form, self._settings),
            audience=audience_of(form, audiences_of(self._settings), issuer=self._settings.issuer),
            expires_s=self._clock.now_s() + DEVICE_S,
        )
        with self._store.change():
            if self._people.devices_waiting(self._clock.now_s()) >= self._waiting_limit:
                raise OAuthError(
                    "slow_down", "too many devices wait to be allowed; try again in ten minutes", status=429
                )
            self._people.put_device(secret, device)
        page = f"{self._settings.issuer}/oauth2/device"
        shown = shown_code(letters)
        return {
            "device_code": secret,
            "user_code": shown,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?user_code={shown}",
            "expires_in": int(DEVICE_S),
            "interval": INTERVAL_S,
        }

    def find(self, typed: str) -> Device:
        """Return the device that waits under a user code, however it was typed; raises OAuthError when none does."""
        code = "".join(letter for letter in typed.upper() if letter in _LETTERS)
        device = self._people.device_called(code) if len(code) == _LENGTH else None
        if device is not None and device.state == "pending" and device.expires_s > self._clock.now_s():
            return device
        if not self._wrong.spend():
            raise OAuthError("slow_down", "too many wrong codes; wait a minute", status=429)
        raise OAuthError("invalid_grant", "no device waits under this code; it may have been too long ago", status=404)

    def decide(self, user_code: str, *, allowed_by: str | None) -> None:
        """Let the device act for a person, or (None) turn it away; raises OAuthError when it waits no more."""
        device = self.find(user_code)
        with self._store.change():
            state: DeviceState = "denied" if allowed_by is None else "allowed"
            if not self._people.decide_device(device.user_code, state, allowed_by):
                raise OAuthError("invalid_grant", "somebody has decided about this device already", status=404)

    def poll(self, form: Form, client: Client) -> IssuedToken:
        """Return the tokens once a person has allowed the device; raises OAuthError as RFC 8628 section 3.5 says."""
        secret = form.needed("device_code")
        device = self._people.device(secret)
        if device is None or device.client_id != client.client_id:
            raise OAuthError("invalid_grant", "the device code is unknown, used, or not this client's")
        if device.expires_s <= self._clock.now_s():
            raise OAuthError("expired_token", "nobody allowed it in time; begin again")
        if device.state == "denied":
            raise OAuthError("access_denied", "the person said no")
        if device.state == "pending" or device.subject is None:
            self._time(secret)
            raise OAuthError("authorization_pending", "nobody has allowed it yet")
        with self._store.change():
            if not self._people.forget_device(secret):  # another replica was asked at the same time
                raise OAuthError("invalid_grant", "the device code was used")
            sign_in = self._sign_ins.begin(device.client_id, device.subject, device.scope, device.audience)
            return self._sign_ins.issue(sign_in)

    def _time(self, secret: str) -> None:
        """Raise OAuthError for a device that asks too often; each time, its interval grows by 5 s."""
        now_s = self._clock.monotonic_s()
        asking = self._asking.setdefault(secret, _Asking(INTERVAL_S, 0.0))
        is_early = now_s < asking.next_s
        asking.interval_s += 5.0 if is_early else 0.0
        asking.next_s = now_s + asking.interval_s - 0.5  # clocks and networks are not exact
        while len(self._asking) > REMEMBERED:
            self._asking.popitem(last=False)
        if is_early:
            raise OAuthError("slow_down", f"ask every {asking.interval_s:g} s")


def shown_code(letters: str) -> str:
    """Return a user code as people read it."""
    return f"{letters[: _LENGTH // 2]}-{letters[_LENGTH // 2 :]}"
