"""A token that is always fresh, for programs that run longer than one token lives."""

import threading

from ragrid.client.synchronous import GridClient
from ragrid.system.clock import Clock, SystemClock

#: A token is renewed this long before its end, or at a tenth of its life if that is less.
MARGIN_S = 30.0


class ClientCredentials:
    """Give it to `GridClient(token=…)`: it asks for a token when there is none, or when the last one nears its end.

    Several threads may share it; one of them asks while the others wait.
    """

    def __init__(
        self,
        client: GridClient,
        client_id: str,
        client_secret: str,
        *,
        scope: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._client = client
        self._identity = (client_id, client_secret, scope)
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._token = ""
        self._renew_at_s = float("-inf")

    def __call__(self) -> str:
        """Return a token that is good for at least a moment. Raises as `GridClient.token` does."""
        with self._lock:
            now_s = self._clock.monotonic_s()
            if now_s >= self._renew_at_s:
                token = self._client.token(*self._identity)
                self._token = token.access_token
                self._renew_at_s = now_s + token.expires_in_s - min(MARGIN_S, token.expires_in_s / 10)
            return self._token
