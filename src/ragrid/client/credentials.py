"""Tokens that renew themselves, for programs that run longer than one token lives."""

import asyncio
import logging
import random
import threading
from collections.abc import Callable, Sequence

from ragrid.client.asynchronous import AsyncGridClient
from ragrid.client.calls import narrowed
from ragrid.client.proof import Identity, PrivateKey
from ragrid.client.renewal import Held, after_refusal, hold
from ragrid.client.synchronous import GridClient
from ragrid.errors import RagridError
from ragrid.system.clock import Clock, SystemClock

logger = logging.getLogger(__name__)


def in_background(work: Callable[[], None]) -> None:
    """Do `work` in a thread that nobody waits for. Raises RuntimeError when the program is just ending."""
    threading.Thread(target=work, name="token-renewal", daemon=True).start()


class ClientCredentials:
    """Give it to `GridClient(token=…)`: a token of a client, renewed by itself long before it ends.

    No request waits for a renewal while the token is good. When the token service is away, the token is used until
    its end, and renewing is tried again and again; only then calls fail. Several threads may share it.
    """

    def __init__(
        self,
        client: GridClient,
        client_id: str,
        proof: str | PrivateKey,
        *,
        scope: str | None = None,
        memory_namespaces: Sequence[str] = (),
        memory_user: str | None = None,
        clock: Clock | None = None,
        chance: Callable[[], float] = random.random,
        run: Callable[[Callable[[], None]], None] = in_background,
    ) -> None:
        """`proof` is the client's secret, or its private key; with a key, `client.address` is the grid's issuer.

        The tokens do no more than `scope`, `memory_namespaces` and `memory_user` say; see `GridClient.token`.
        """
        self._client = client
        less = narrowed(scope, memory_namespaces, memory_user)
        self._identity = Identity(client_id, proof, client.address, less)
        self._clock = clock or SystemClock()
        self._chance = chance
        self._run = run
        self._lock = threading.Lock()
        self._held: Held | None = None

    def __call__(self) -> str:
        """Return a token that is good for at least a moment. Raises as `GridClient.token` does."""
        held, now_s = self._held, self._clock.monotonic_s()
        if held is not None and held.is_good(now_s):
            if not held.is_fresh(now_s) and self._lock.acquire(blocking=False):
                try:
                    self._run(self._renew)  # it gives the lock back
                except RuntimeError:
                    self._lock.release()
            return held.access_token
        with self._lock:
            held = self._held
            if held is None or not held.is_good(self._clock.monotonic_s()):
                held = self._held = self._ask()
            return held.access_token

    def forget(self, access_token: str) -> bool:
        """Hear that a token was refused, as after `ragrid key withdraw`; return whether asking now gives another."""
        with self._lock:
            self._held, is_useful = after_refusal(self._held, access_token, now_s=self._clock.monotonic_s())
        return is_useful

    def close(self) -> None:
        """Close the connections that tokens are asked for over."""
        self._client.close()

    def _renew(self) -> None:
        try:
            self._held = self._ask()
        except RagridError as error:
            self._held = _put_off(self._held, error, self._clock, self._chance())
        except RuntimeError:  # the client was closed meanwhile: nobody wants the token any more
            logger.debug("token not renewed: the client is closed")
        finally:
            self._lock.release()

    def _ask(self) -> Held:
        asked_s = self._clock.monotonic_s()
        token = self._client.send(self._identity.ask(self._clock.now_s()))
        return hold(token.access_token, token.expires_in_s, asked_s=asked_s, chance=self._chance())


class AsyncClientCredentials:
    """The same for `AsyncGridClient(token=…)`; one serves one event loop."""

    def __init__(
        self,
        client: AsyncGridClient,
        client_id: str,
        proof: str | PrivateKey,
        *,
        scope: str | None = None,
        memory_namespaces: Sequence[str] = (),
        memory_user: str | None = None,
        clock: Clock | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        less = narrowed(scope, memory_namespaces, memory_user)
        self._identity = Identity(client_id, proof, client.address, less)
        self._clock = clock or SystemClock()
        self._chance = chance
        self._lock = asyncio.Lock()
        self._held: Held | None = None
        self._renewal: asyncio.Task[None] | None = None

    async def __call__(self) -> str:
        """Return a token that is good for at least a moment. Raises as `AsyncGridClient.token` does."""
        held, now_s = self._held, self._clock.monotonic_s()
        if held is not None and held.is_good(now_s):
            if not held.is_fresh(now_s) and (self._renewal is None or self._renewal.done()):
                self._renewal = asyncio.create_task(self._renew())
            return held.access_token
        async with self._lock:
            held = self._held
            if held is None or not held.is_good(self._clock.monotonic_s()):
                held = self._held = await self._ask()
            return held.access_token

    def forget(self, access_token: str) -> bool:
        """Hear that a token was refused, as after `ragrid key withdraw`; return whether asking now gives another."""
        self._held, is_useful = after_refusal(self._held, access_token, now_s=self._clock.monotonic_s())
        return is_useful

    async def close(self) -> None:
        """End a renewal that is under way."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)

    async def _renew(self) -> None:
        try:
            self._held = await self._ask()
        except RagridError as error:
            self._held = _put_off(self._held, error, self._clock, self._chance())

    async def _ask(self) -> Held:
        asked_s = self._clock.monotonic_s()
        token = await self._client.send(self._identity.ask(self._clock.now_s()))
        return hold(token.access_token, token.expires_in_s, asked_s=asked_s, chance=self._chance())


def _put_off(held: Held | None, error: RagridError, clock: Clock, chance: float) -> Held | None:
    if held is None:
        return None
    now_s = clock.monotonic_s()
    logger.warning("token not renewed", extra={"good_for_s": round(held.ends_s - now_s, 1), "reason": str(error)})
    return held.put_off(now_s, chance=chance)
