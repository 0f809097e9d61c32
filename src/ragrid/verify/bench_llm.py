"""What the gateway adds to the first byte of a language model's stream: the same request in turns, there and directly.

Each pair asks one address and at once the other, every other pair the other way round, over connections that stay open.
Its difference is what the gateway added; the median of many is told, because a model's own time varies by more.
"""

import contextlib
import http.client
import json
import ssl
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ragrid.errors import RagridError, UnreachableError

TIMEOUT_S = 120.0
#: Not counted: connections are opened, and the model meets the prompt for the first time.
WARM_UP_PAIRS = 3
MAX_TOKENS = 8


@dataclass(frozen=True, slots=True)
class ModelTarget:
    """One address of the OpenAI API, without a path; `token` and `ca_file` where it wants them."""

    url: str
    token: str | None = None
    ca_file: Path | None = None


def bench_llm(direct: ModelTarget, gateway: ModelTarget, *, model: str, pairs: int = 200) -> dict[str, Any]:
    """Return the median times to the first byte of a streamed completion, and of their differences, milliseconds.

    Raises UnreachableError when an address does not answer, RagridError when one answers anything but a stream.
    """
    with contextlib.ExitStack() as stack:
        streams = {name: _Streams(stack, one, model) for name, one in (("direct", direct), ("gateway", gateway))}
        for _ in range(WARM_UP_PAIRS):
            for one in streams.values():
                one.first_byte_s()
        found: dict[str, list[float]] = {name: [] for name in streams}
        for number in range(pairs):
            for name in sorted(streams, reverse=bool(number % 2)):
                found[name].append(streams[name].first_byte_s())
    return summarize(found["direct"], found["gateway"])


def summarize(direct_s: list[float], gateway_s: list[float]) -> dict[str, Any]:
    """Return the documented object from the first-byte times of pairs."""
    added = [through - alone for alone, through in zip(direct_s, gateway_s, strict=True)]
    return {
        "pairs": len(added),
        "first_byte_direct_ms": _ms(statistics.median(direct_s)),
        "first_byte_gateway_ms": _ms(statistics.median(gateway_s)),
        "added_first_byte_ms": _ms(statistics.median(added)),
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


class _Streams:
    """Streams from one address, one after the other over one connection."""

    def __init__(self, stack: contextlib.ExitStack, target: ModelTarget, model: str) -> None:
        self._url = target.url
        self._connection = _connection(target)
        stack.callback(self._connection.close)
        self._headers = {"Content-Type": "application/json"}
        if target.token:
            self._headers["Authorization"] = f"Bearer {target.token}"
        self._body = json.dumps(
            {"model": model, "prompt": "The license", "max_tokens": MAX_TOKENS, "temperature": 0, "stream": True}
        )

    def first_byte_s(self) -> float:
        """Ask for a stream, read it to its end, and return how long its first byte took."""
        began_s = time.monotonic()
        try:
            self._connection.request("POST", "/v1/completions", body=self._body, headers=self._headers)
            answer = self._connection.getresponse()
            first = answer.read(1)
            took_s = time.monotonic() - began_s
            rest = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise UnreachableError(f"{self._url}: {error!r}; is the model running?") from error
        if answer.status != http.client.OK or not (first + rest).startswith(b"data:"):
            told = (first + rest)[:500].decode(errors="replace")
            raise RagridError(f"bench: {self._url}: got status {answer.status}, wanted a stream: {told}")
        return took_s


def _connection(target: ModelTarget) -> http.client.HTTPConnection:
    parts = urlsplit(target.url)
    host = parts.hostname or ""
    if parts.scheme == "https":
        trust = ssl.create_default_context(cafile=str(target.ca_file) if target.ca_file else None)
        return http.client.HTTPSConnection(host, parts.port, timeout=TIMEOUT_S, context=trust)
    return http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT_S)
