"""What is sent and how an answer is read (pure), shared by the two clients, which only differ in how they wait."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote_plus, urlencode

import msgspec

from ragrid.client.models import Answer, Citation, Document, IngestResult, Token
from ragrid.client.refusals import refusal, retry_after_s
from ragrid.errors import RagridError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

#: Connecting is quick or it fails; reading waits for a generator, or for a large document to be embedded.
CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
ASK_TIMEOUT_S = 180.0
INGEST_TIMEOUT_S = 600.0


#: Which failures a call may be repeated after: none; those that surely came before the grid did anything; all.
Repeat = Literal["never", "unsent", "always"]


class DocumentPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of the list of documents."""

    items: tuple[Document, ...] = msgspec.field(name="documents")
    after: str | None = msgspec.field(name="next", default=None)


class SearchPage(msgspec.Struct, frozen=True, kw_only=True):
    """The passages that a search found."""

    citations: tuple[Citation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T_co]):
    """One request, and the type of its answer.

    `repeat` is "always" only where a second arrival changes nothing: reads, and writes with a key or a precondition.
    """

    method: str
    path: str
    answer: type[T_co]
    parameters: Mapping[str, str | int | tuple[str, ...]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    has_token: bool = True
    read_timeout_s: float = READ_TIMEOUT_S
    repeat: Repeat = "never"

    @property
    def name(self) -> str:
        """Return how messages speak of this call; parameters may be private and are left out."""
        return f"{self.method} {self.path}"


def read(call: Call[T], status: int, headers: Mapping[str, str], content: bytes) -> T:
    """Return the answer's value; `headers` are those of the answer, by lower-case names.

    Raises what `refusal` makes of a status other than 2xx, and RagridError when the body is not what was wanted.
    """
    if not 200 <= status < 300:
        kind = headers.get("content-type", "")
        raise refusal(call.name, status, kind, content, retry_after_s=retry_after_s(headers))
    if call.answer is type(None):
        return None
    try:
        return msgspec.json.decode(content, type=call.answer)
    except msgspec.MsgspecError as error:
        wanted = call.answer.__name__
        message = f"{call.name}: answer {status} is no {wanted}: {error}; is this the address of a ragrid gateway?"
        raise RagridError(message) from error


def narrowed(
    scope: str | None, memory_namespaces: Sequence[str] = (), memory_user: str | None = None
) -> dict[str, str]:
    """Return the members of a form that ask for a token that may do less."""
    patterns = " ".join(memory_namespaces)
    asked = {"scope": scope, "memory_ns": patterns, "memory_user": memory_user}
    return {name: value for name, value in asked.items() if value}


def token(client_id: str, client_secret: str, less: Mapping[str, str]) -> Call[Token]:
    """Ask for an access token with the client credentials grant (RFC 6749, section 4.4); `less`: see `narrowed`."""
    form = {"grant_type": "client_credentials", **less}
    return form_call("/oauth2/token", Token, form, client=(client_id, client_secret))


def ingest(name: str, content: bytes, media_type: str) -> Call[IngestResult]:
    """Hand in one document under `name`; the same bytes again change nothing."""
    return Call(
        method="POST",
        path="/rag/v1/documents",
        answer=IngestResult,
        parameters={"name": name},
        headers={"content-type": media_type},
        content=content,
        read_timeout_s=INGEST_TIMEOUT_S,
    )


def documents(cursor: str | None) -> Call[DocumentPage]:
    """Ask for one page of the caller's documents."""
    parameters = {} if cursor is None else {"cursor": cursor}
    return Call(method="GET", path="/rag/v1/documents", answer=DocumentPage, parameters=parameters)


def delete(name: str) -> Call[None]:
    """Take one document out."""
    return Call(method="DELETE", path="/rag/v1/documents", answer=type(None), parameters={"name": name})


def ask(question: str, k: int, *, stream: bool) -> Call[Answer]:
    """Ask a question; `k` is how many passages the answer may rest on."""
    accept = "text/event-stream" if stream else "application/json"
    return json_call(
        "/rag/v1/ask", Answer, {"question": question, "k": k, "stream": stream}, accept=accept, timeout_s=ASK_TIMEOUT_S
    )


def search(question: str, k: int) -> Call[SearchPage]:
    """Find the `k` passages that fit best, without an answer."""
    return json_call("/rag/v1/search", SearchPage, {"question": question, "k": k})


def json_call(
    path: str,
    answer: type[T],
    body: Mapping[str, Any],
    *,
    accept: str = "application/json",
    timeout_s: float = READ_TIMEOUT_S,
    method: str = "POST",
) -> Call[T]:
    """Return a request with a JSON body."""
    return Call(
        method=method,
        path=path,
        answer=answer,
        content=msgspec.json.encode(body),
        headers={"content-type": "application/json", "accept": accept},
        read_timeout_s=timeout_s,
    )


def form_call(path: str, answer: type[T], form: Mapping[str, str], *, client: tuple[str, str] | None = None) -> Call[T]:
    """Return a POST of a form, as OAuth wants it; `client` is the id and secret of who makes it."""
    headers = {"content-type": "application/x-www-form-urlencoded"}
    if client is not None:
        headers["authorization"] = _basic(*client)
    return Call(
        method="POST", path=path, answer=answer, content=urlencode(form).encode(), headers=headers, has_token=False
    )


def _basic(client_id: str, client_secret: str) -> str:
    """Return the header for HTTP Basic; both parts are form-encoded first (RFC 6749, section 2.3.1)."""
    pair = f"{quote_plus(client_id)}:{quote_plus(client_secret)}"
    return "Basic " + b64encode(pair.encode()).decode()
