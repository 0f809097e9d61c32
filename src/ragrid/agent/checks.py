"""How an instance shows that it works: one bounded look at the real thing."""

import asyncio
from typing import Any, Protocol

import httpx
import msgspec

from ragrid.agent.state import CheckResult
from ragrid.system.clock import Clock

#: A canary completion is asked for at most this often, seconds; `GET /health` is asked in between.
COMPLETION_EVERY_S = 30.0
#: A busy model answers one token late, and is not dead for that: its canary gets at least this long, seconds.
COMPLETION_TIMEOUT_S = 30.0
#: How much of a body is quoted in an error.
_QUOTED = 200


class Probe(Protocol):
    """One look at one instance: returns when it works, raises ProbeError (or times out) when it does not."""

    async def __call__(self) -> None:
        """Look once."""
        ...


class ProbeError(Exception):
    """The instance answered, and the answer is not what a working one gives."""


async def run_check(probe: Probe, *, timeout_s: float, clock: Clock) -> CheckResult:
    """Look once, within `timeout_s`; whatever goes wrong is the result's error, in one line."""
    started_s = clock.monotonic_s()
    error, answered = "", True
    try:
        async with asyncio.timeout(timeout_s):
            await probe()
    except TimeoutError:
        error, answered = f"no answer within {timeout_s:g} s", False
    except (OSError, httpx.HTTPError, ProbeError) as problem:
        error = " ".join(f"{type(problem).__name__}: {problem}".split())[:500]
        answered = isinstance(problem, ProbeError)
    return CheckResult(error, clock.monotonic_s() - started_s, answered)


def http_probe(client: httpx.AsyncClient, path: str) -> Probe:
    """Return a probe that wants status 200 at `path`."""

    async def look() -> None:
        wanted_200(await client.get(path))

    return look


def tcp_probe(host: str, port: int) -> Probe:
    """Return a probe that connects and hangs up."""

    async def look() -> None:
        _, writer = await asyncio.open_connection(host, port)
        writer.close()
        await writer.wait_closed()

    return look


class CompletionProbe:
    """One real token now and then, `GET /health` in between.

    The token is asked for in the background, so that a busy model does not hold up the look at its health; only while
    no canary ever passed, or after one failed, does a look wait for it.
    """

    def __init__(self, client: httpx.AsyncClient, model: str, *, clock: Clock) -> None:
        self._client = client
        self._model = model
        self._clock = clock
        self._next_s = 0.0
        self._passed = False
        self._running: asyncio.Task[None] | None = None

    async def __call__(self) -> None:
        """Look once."""
        wanted_200(await self._client.get("/health"))
        if self._running is None and self._clock.monotonic_s() >= self._next_s:
            self._running = asyncio.create_task(self._complete())
        if self._running is not None and (self._running.done() or not self._passed):
            await self._collect(self._running)

    async def close(self) -> None:
        """Give up a canary that is under way."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            self._running = None

    async def _collect(self, running: asyncio.Task[None]) -> None:
        """Take over the canary's outcome; when our own time runs out first, it goes on for the next look."""
        self._passed = False
        try:
            await asyncio.shield(running)
        finally:
            if running.done():
                self._running = None
        self._passed = True
        self._next_s = self._clock.monotonic_s() + COMPLETION_EVERY_S

    async def _complete(self) -> None:
        body = {"model": self._model, "prompt": "ok", "max_tokens": 1, "temperature": 0}
        timeout = httpx.Timeout(COMPLETION_TIMEOUT_S)
        answer = wanted_200(await self._client.post("/v1/completions", json=body, timeout=timeout))
        if not decoded(answer).get("choices"):
            raise ProbeError(f"/v1/completions: got {answer.text[:_QUOTED]!r}, wanted one choice")


def wanted_200(answer: httpx.Response) -> httpx.Response:
    """Return `answer`; raises ProbeError unless its status is 200."""
    if answer.status_code != httpx.codes.OK:
        said = " ".join(answer.text[:_QUOTED].split())
        raise ProbeError(f"{answer.request.url.path}: got status {answer.status_code} {said!r}, wanted 200")
    return answer


def decoded(answer: httpx.Response) -> dict[str, Any]:
    """Return the JSON object in `answer`; raises ProbeError when there is none."""
    try:
        return msgspec.json.decode(answer.content, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise ProbeError(f"{answer.request.url.path}: got {answer.text[:_QUOTED]!r}, wanted a JSON object") from error
