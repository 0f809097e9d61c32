"""One bounded HTTP call to whichever of several registry servers answers."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec

from ragrid.errors import MissingError, UnreachableError, UsageError
from ragrid.spec.settings import RegistryAddress
from ragrid.system.clock import Clock
from ragrid.system.tls import RenewingContext

#: Longest wait for one server's answer to an ordinary call, seconds.
CALL_TIMEOUT_S = 3.0
#: Longest wait for a connection or a TLS handshake, seconds; a busy machine takes more than one for the latter.
CONNECT_TIMEOUT_S = 2.0
#: A server that failed is tried last for this long, seconds.
COOL_DOWN_S = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said: status, decoded JSON body (None when it was not JSON), its text, and its headers."""

    status: int
    body: Any
    text: str
    headers: Mapping[str, str]


class Endpoints:
    """Orders servers for the next call: those that work first, in the order given; pure but for what it remembers."""

    def __init__(self, urls: str) -> None:
        self.urls = tuple(url.strip().rstrip("/") for url in urls.split(",") if url.strip())
        if not self.urls or not all(url.startswith(("http://", "https://")) for url in self.urls):
            raise UsageError(f"registry address: got {urls!r}, wanted http:// or https:// URLs separated by commas")
        self._failed_s: dict[str, float] = {}

    def order(self, now_s: float) -> tuple[str, ...]:
        """Return every server once; those that failed lately come last, the longest failed first among them."""
        recent = {url: at for url, at in self._failed_s.items() if now_s - at < COOL_DOWN_S}
        return tuple(sorted(self.urls, key=lambda url: recent.get(url, float("-inf"))))

    def failed(self, url: str, now_s: float) -> None:
        """Remember that `url` did not answer."""
        self._failed_s[url] = now_s

    def answered(self, url: str) -> None:
        """Remember that `url` works."""
        self._failed_s.pop(url, None)


class RegistryHttp:
    """Bounded calls with failover. No call outlasts `CALL_TIMEOUT_S` times the number of servers."""

    def __init__(
        self,
        address: RegistryAddress,
        *,
        clock: Clock,
        headers: Mapping[str, str] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._clock = clock
        self.endpoints = Endpoints(address.url)
        self.kind = address.kind
        self._client = httpx.AsyncClient(
            verify=_tls(address),
            headers=dict(headers or {}),
            timeout=httpx.Timeout(CALL_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            trust_env=False,
            transport=transport,
        )

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        repeatable: bool = True,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> Answer:
        """Return the first server's answer that is not 'I cannot serve now'.

        A call that is not `repeatable` goes to another server only when the first one never got it.
        Raises UnreachableError when no server answers within `timeout_s` each.
        """
        seen: list[str] = []
        for url in self.endpoints.order(self._clock.monotonic_s()):
            try:
                answer = await self._once(method, url + path, body=body, params=params, timeout_s=timeout_s)
            except (httpx.TransportError, OSError) as error:  # a late TLS alert comes as a bare ssl.SSLError
                self.endpoints.failed(url, self._clock.monotonic_s())
                seen.append(f"{url}: {type(error).__name__} {error}".rstrip())
                if not repeatable and not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
                    break
                continue
            if is_unavailable(answer):
                self.endpoints.failed(url, self._clock.monotonic_s())
                seen.append(f"{url}: {answer.status} {answer.text[:200].strip()}")
                continue
            self.endpoints.answered(url)
            return answer
        raise UnreachableError(f"{self.kind}: no server answered {path}: {'; '.join(seen)}; start it or wait")

    async def _once(
        self, method: str, url: str, *, body: Any, params: Mapping[str, str] | None, timeout_s: float
    ) -> Answer:
        content = None if body is None else body if isinstance(body, bytes) else msgspec.json.encode(body)
        async with asyncio.timeout(timeout_s):
            response = await self._client.request(
                method,
                url,
                content=content,
                params=params,
                timeout=httpx.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s)),
            )
        return Answer(response.status_code, _json(response.content), response.text, response.headers)

    def stream(self, url: str, body: Any) -> Any:
        """Open a POST whose answer is read line by line for as long as the caller likes (an async context manager)."""
        timeout = httpx.Timeout(CALL_TIMEOUT_S, connect=CONNECT_TIMEOUT_S, read=None)
        return self._client.stream("POST", url, content=msgspec.json.encode(body), timeout=timeout)

    def first_server(self) -> str:
        """Return the server that a call would go to now."""
        return self.endpoints.order(self._clock.monotonic_s())[0]

    def broke(self, url: str) -> None:
        """Remember that a stream from `url` broke off, so that others are tried first for a while."""
        self.endpoints.failed(url, self._clock.monotonic_s())

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()


def is_unavailable(answer: Answer) -> bool:
    """Whether this server cannot serve now but another might: no leader, stopping, a gateway without its server."""
    if answer.status in (502, 503, 504):
        return True
    if answer.status != 500:
        return False
    return "no leader" in answer.text.lower() or "no cluster leader" in answer.text.lower()


def _json(content: bytes) -> Any:
    try:
        return msgspec.json.decode(content) if content else None
    except msgspec.MsgspecError:
        return None


def _tls(address: RegistryAddress) -> ssl.SSLContext | bool:
    """Return the TLS context for `address`; True (the system's own trust) when it names no file of its own.

    A client certificate that was renewed on disk is shown from the next connection on.
    """
    if address.ca_file is None and address.certificate_file is None:
        return True
    try:
        context = RenewingContext(ssl.PROTOCOL_TLS_CLIENT)
        if address.ca_file is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(address.ca_file)
        if address.certificate_file is not None:
            context.hold(address.certificate_file, address.key_file or address.certificate_file)
    except (OSError, ssl.SSLError) as error:
        named = f"{address.ca_file}, {address.certificate_file}, {address.key_file}"
        raise MissingError(f"registry TLS files {named}: {error}; run `ragrid up` to make them again") from error
    return context
