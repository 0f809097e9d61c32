"""Binds a form to the browser that it was shown to, and to what it says: nobody can make or change one elsewhere."""

import hashlib
import hmac
import re
import secrets

from ragrid.system.clock import Clock

#: How long a page may stay open, seconds.
SEAL_S = 600.0
_NONCE = re.compile(r"[A-Za-z0-9_-]{43}")


class Seal:
    """Signs forms with a key that all replicas share: whoever showed a form, any of them takes it."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._key = key
        self._clock = clock

    def make(self, nonce: str, content: str) -> str:
        """Return the seal of a form with this content, for the browser that has `nonce` as its cookie."""
        until = str(int(self._clock.now_s() + SEAL_S))
        return f"{until}.{self._mac(nonce, content, until)}"

    def holds(self, seal: str, nonce: str | None, content: str) -> bool:
        """Return whether `seal` was made with this key for this browser and content, not too long ago."""
        until, _, mac = seal.partition(".")
        if nonce is None or not mac.isascii() or not hmac.compare_digest(mac, self._mac(nonce, content, until)):
            return False
        return float(until) > self._clock.now_s()

    def _mac(self, nonce: str, content: str, until: str) -> str:
        return hmac.new(self._key, f"{nonce} {until} {content}".encode(), hashlib.sha256).hexdigest()


def nonce_of(cookie: str | None) -> str:
    """Return the browser's own nonce when its cookie holds one of ours, else a fresh one."""
    return cookie if cookie is not None and _NONCE.fullmatch(cookie) else secrets.token_urlsafe(32)
