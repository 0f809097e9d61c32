"""The client for programs that wait."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx

from ragrid.client import calls
from ragrid.client.calls import Call
from ragrid.client.events import AnswerStream
from ragrid.client.memory.synchronous import Memories
from ragrid.client.models import Answer, AnswerEvent, Citation, Document, IngestResult, Token
from ragrid.client.pages import follow
from ragrid.client.refusals import refusal
from ragrid.client.retry import Attempts, Retry
from ragrid.client.transport import (
    checked_address,
    close_tokens,
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


class GridClient:
    """One grid, reached through its gateway.

    `token` is an access token, or a function that returns one and is called before each request. Proxies, netrc and
    other settings of the environment are not used: the token goes to `address` and nowhere else. One client may serve
    several threads.
    """

    def __init__(
        self,
        address: str,
        *,
        ca_file: Path | None = None,
        token: str | Callable[[], str] | None = None,
        transport: httpx.BaseTransport | None = None,
        retry: Retry = Retry(),  # noqa: B008 - it is immutable
    ) -> None:
        self.address = checked_address(address)
        self.documents = Documents(self)
        self.memories = Memories(self)
        self._token = token
        self._retry = retry
        self._http = httpx.Client(
            base_url=self.address, verify=trust(ca_file), trust_env=False, transport=transport, timeout=timeouts()
        )

    def __enter__(self) -> "GridClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, and those of whatever gives this client its tokens."""
        self._http.close()
        close_tokens(self._token)

    def token(
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
        return self.send(calls.token(client_id, client_secret, less))

    def ask(self, question: str, k: int = 5) -> Answer:
        """Return an answer that rests on at most `k` passages."""
        return self.send(calls.ask(question, k, stream=False))

    def ask_stream(self, question: str, k: int = 5) -> Iterator[AnswerEvent]:
        """Yield an answer as it is written: `Cited`, then `Piece` after `Piece`, then `Done`.

        Raises UnreachableError when the stream ends without `Done`: what came before is then only a part.
        """
        call = calls.ask(question, k, stream=True)
        stream = AnswerStream(call.name)
        with self._opened(call) as response:
            for chunk in response.iter_bytes():
                yield from stream.feed(chunk)
                if stream.is_done:
                    return
        stream.finish()

    def search(self, question: str, k: int = 5) -> tuple[Citation, ...]:
        """Return the `k` passages that fit best, best first, without an answer."""
        return self.send(calls.search(question, k)).citations

    def send(self, call: Call[T]) -> T:
        """Send one call and return its answer; where the call allows it, failures are tried again after a pause.

        Raises AuthError (401, 403), UnreachableError (no answer, 502 to 504) and RefusedError (any other refusal).
        """
        attempts = Attempts(self._retry, call.repeat, random.random)
        while True:
            try:
                return self._send_once(call)
            except RagridError as error:
                pause_s = attempts.pause_s(error)
                if pause_s is None:
                    raise
            time.sleep(pause_s)

    def lines(self, call: Call[Any]) -> Iterator[bytes]:
        """Send one call and yield the lines of its answer as they come, without their ends; nothing is tried again.

        Raises as `send` does, also for an answer that breaks off in the middle.
        """
        rest = b""
        with self._opened(call) as response:
            for chunk in response.iter_bytes():
                *whole, rest = (rest + chunk).split(b"\n")
                yield from whole
        if rest:
            yield rest

    @contextmanager
    def _opened(self, call: Call[Any]) -> Iterator[httpx.Response]:
        """Send one call for an answer that is read as it comes; whatever ends the reading closes it."""
        with translated(self.address, call.name):
            response = self._http.send(self._request(call), stream=True)
            try:
                refuse_redirect(call.name, response)
                if response.status_code != httpx.codes.OK:
                    raise refusal(call.name, response.status_code, content_type(response), response.read())
                yield response
            finally:
                response.close()

    def _send_once(self, call: Call[T]) -> T:
        with translated(self.address, call.name):
            response = self._http.send(self._request(call))
            if is_worth_another_token(self._token, response):
                response = self._http.send(self._request(call))
        refuse_redirect(call.name, response)
        return calls.read(call, response.status_code, response.headers, response.content)

    def _request(self, call: Call[T]) -> httpx.Request:
        headers = dict(call.headers)
        if call.has_token:
            headers["authorization"] = f"Bearer {self._bearer(call.name)}"
        return self._http.build_request(
            call.method,
            call.path,
            params=dict(call.parameters) or None,
            content=call.content,
            headers=headers,
            timeout=timeouts(call.read_timeout_s),
        )

    def _bearer(self, name: str) -> str:
        if self._token is None:
            raise no_token(name)
        return self._token if isinstance(self._token, str) else self._token()


class Documents:
    """The caller's documents."""

    def __init__(self, client: GridClient) -> None:
        self._client = client

    def ingest(self, name: str, content: bytes, media_type: str) -> IngestResult:
        """Hand in one document; it is answered once the document is durable and can be found."""
        return self._client.send(calls.ingest(name, content, media_type))

    def list(self) -> Iterator[Document]:
        """Yield every document, page by page."""
        return follow(self._client.send, calls.documents)

    def delete(self, name: str) -> None:
        """Take one document out. Raises RefusedError with status 404 when there is none of that name."""
        self._client.send(calls.delete(name))
