"""The client for programs with an event loop; the same promises as `GridClient`."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx

from ragrid.client import calls
from ragrid.client.calls import Call
from ragrid.client.events import AnswerStream
from ragrid.client.memory.asynchronous import AsyncMemories
from ragrid.client.models import Answer, AnswerEvent, Citation, Document, IngestResult, Token
from ragrid.client.pages import follow_async
from ragrid.client.refusals import refusal
from ragrid.client.retry import Attempts, Retry
from ragrid.client.transport import (
    checked_address,
    content_type,
    is_worth_another_token,
    no_token,
    refuse_redirect,
    timeouts,
    translated,
    trust,
)
from ragrid.errors import RagridError

T = TypeVar("T")


class AsyncGridClient:
    """One grid, reached through its gateway; see `GridClient`. One client serves one event loop."""

    def __init__(
        self,
        address: str,
        *,
        ca_file: Path | None = None,
        token: str | Callable[[], Awaitable[str]] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        retry: Retry = Retry(),  # noqa: B008 - it is immutable
    ) -> None:
        self.address = checked_address(address)
        self.documents = AsyncDocuments(self)
        self.memories = AsyncMemories(self)
        self._token = token
        self._retry = retry
        self._http = httpx.AsyncClient(
            base_url=self.address, verify=trust(ca_file), trust_env=False, transport=transport, timeout=timeouts()
        )

    async def __aenter__(self) -> "AsyncGridClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def token(
        self,
        client_id: str,
        client_secret: str,
        scope: str | None = None,
        *,
        memory_namespaces: Sequence[str] = (),
        memory_user: str | None = None,
    ) -> Token:
        """Return a new access token for a client. Raises AuthError when the grid does not accept its secret.

        It may do no more than `scope` names, and reaches memories of these namespaces (`*` for anything) and of this
        user alone, where any are named.
        """
        less = calls.narrowed(scope, memory_namespaces, memory_user)
        return await self.send(calls.token(client_id, client_secret, less))

    async def ask(self, question: str, k: int = 5) -> Answer:
        """Return an answer that rests on at most `k` passages."""
        return await self.send(calls.ask(question, k, stream=False))

    async def ask_stream(self, question: str, k: int = 5) -> AsyncIterator[AnswerEvent]:
        """Yield an answer as it is written: `Cited`, then `Piece` after `Piece`, then `Done`.

        Raises UnreachableError when the stream ends without `Done`: what came before is then only a part.
        """
        call = calls.ask(question, k, stream=True)
        stream = AnswerStream(call.name)
        async with self._opened(call) as response:
            async for chunk in response.aiter_bytes():
                for event in stream.feed(chunk):
                    yield event
                if stream.is_done:
                    return
        stream.finish()

    async def search(self, question: str, k: int = 5) -> tuple[Citation, ...]:
        """Return the `k` passages that fit best, best first, without an answer."""
        return (await self.send(calls.search(question, k))).citations

    async def send(self, call: Call[T]) -> T:
        """Send one call and return its answer; where the call allows it, failures are tried again after a pause.

        Raises AuthError (401, 403), UnreachableError (no answer, 502 to 504) and RefusedError (any other refusal).
        """
        attempts = Attempts(self._retry, call.repeat, random.random)
        while True:
            try:
                return await self._send_once(call)
            except RagridError as error:
                pause_s = attempts.pause_s(error)
                if pause_s is None:
                    raise
            await asyncio.sleep(pause_s)

    async def lines(self, call: Call[Any]) -> AsyncIterator[bytes]:
        """Send one call and yield the lines of its answer as they come, without their ends; nothing is tried again.

        Raises as `send` does, also for an answer that breaks off in the middle.
        """
        rest = b""
        async with self._opened(call) as response:
            async for chunk in response.aiter_bytes():
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    yield line
        if rest:
            yield rest

    @asynccontextmanager
    async def _opened(self, call: Call[Any]) -> AsyncIterator[httpx.Response]:
        """Send one call for an answer that is read as it comes; whatever ends the reading closes it."""
        with translated(self.address, call.name):
            response = await self._http.send(await self._request(call), stream=True)
            try:
                refuse_redirect(call.name, response)
                if response.status_code != httpx.codes.OK:
                    raise refusal(call.name, response.status_code, content_type(response), await response.aread())
                yield response
            finally:
                await response.aclose()

    async def _send_once(self, call: Call[T]) -> T:
        with translated(self.address, call.name):
            response = await self._http.send(await self._request(call))
            if is_worth_another_token(self._token, response):
                response = await self._http.send(await self._request(call))
        refuse_redirect(call.name, response)
        return calls.read(call, response.status_code, response.headers, response.content)

    async def _request(self, call: Call[T]) -> httpx.Request:
        headers = dict(call.headers)
        if call.has_token:
            headers["authorization"] = f"Bearer {await self._bearer(call.name)}"
        return self._http.build_request(
            call.method,
            call.path,
            params=dict(call.parameters) or None,
            content=call.content,
            headers=headers,
            timeout=timeouts(call.read_timeout_s),
        )

    async def _bearer(self, name: str) -> str:
        if self._token is None:
            raise no_token(name)
        return self._token if isinstance(self._token, str) else await self._token()


class AsyncDocuments:
    """The caller's documents."""

    def __init__(self, client: AsyncGridClient) -> None:
        self._client = client

    async def ingest(self, name: str, content: bytes, media_type: str) -> IngestResult:
        """Hand in one document; it is answered once the document is durable and can be found."""
        return await self._client.send(calls.ingest(name, content, media_type))

    def list(self) -> AsyncIterator[Document]:
        """Yield every document, page by page."""
        return follow_async(self._client.send, calls.documents)

    async def delete(self, name: str) -> None:
        """Take one document out. Raises RefusedError with status 404 when there is none of that name."""
        await self._client.send(calls.delete(name))
