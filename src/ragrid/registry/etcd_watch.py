"""etcd's stream of events, reduced to a bell: it says that something changed, never what."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec

from ragrid.registry.http import CALL_TIMEOUT_S, RegistryHttp

logger = logging.getLogger(__name__)

#: Pause before a broken stream is opened again, seconds; keeps a server that refuses streams from being hammered.
_REOPEN_PAUSE_S = 0.2


class Wake:
    """Rings when the stream reports events, when it was cancelled (history compacted), and when it ends."""

    def __init__(self) -> None:
        self.is_open = True
        self._rung = asyncio.Event()
        self._changed = False

    async def wait(self, timeout_s: float) -> bool:
        """Return whether events came in; False also after `timeout_s` and when the stream broke."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        self._rung.clear()
        changed, self._changed = self._changed, False
        return changed

    def ring(self, *, changed: bool) -> None:
        """Wake the waiter."""
        self._changed = self._changed or changed
        self._rung.set()

    def end(self) -> None:
        """Say that no more will come."""
        self.is_open = False
        self._rung.set()


@contextlib.asynccontextmanager
async def opened_wake(http: RegistryHttp, request: dict[str, Any]) -> AsyncIterator[Wake]:
    """Open a watch on the server that is tried first now; its end closes the wake, it never raises by itself."""
    wake = Wake()
    task = asyncio.create_task(_read(http, http.first_server(), request, wake))
    try:
        yield wake
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _read(http: RegistryHttp, url: str, request: dict[str, Any], wake: Wake) -> None:
    try:
        await _follow(http, url, request, wake)
    except (httpx.HTTPError, OSError, msgspec.MsgspecError) as error:
        logger.info("registry watch broke off", extra={"server": url, "reason": f"{type(error).__name__} {error}"})
        http.broke(url)
        await asyncio.sleep(_REOPEN_PAUSE_S)
    finally:
        wake.end()


async def _follow(http: RegistryHttp, url: str, request: dict[str, Any], wake: Wake) -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with asyncio.timeout(CALL_TIMEOUT_S):
            response = await stack.enter_async_context(http.stream(url + "/v3/watch", request))
        async for line in response.aiter_lines():
            result = msgspec.json.decode(line).get("result") if line else {}
            if result is None or result.get("canceled"):
                wake.ring(changed=True)
                await asyncio.sleep(_REOPEN_PAUSE_S)
                return
            if result.get("events"):
                wake.ring(changed=True)
    await asyncio.sleep(_REOPEN_PAUSE_S)
