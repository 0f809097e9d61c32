"""Both clients over a real connection: what they send, what they make of answers, refusals and broken streams."""

import json
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from ragrid.client import AsyncGridClient, Cited, Done, GridClient, Piece, RefusedError
from ragrid.errors import AuthError, MissingError, RagridError, UnreachableError, UsageError
from ragrid.system.process import run
from support.http_server import GridServer, Reply


@pytest.fixture
def client(grid: GridServer) -> Iterator[GridClient]:
    with GridClient(grid.address, token="reader-token") as one:
        yield one


@pytest.fixture
async def async_client(grid: GridServer) -> AsyncIterator[AsyncGridClient]:
    async with AsyncGridClient(grid.address, token="reader-token") as one:
        yield one


CITATION = {"document": "a.md", "start": 3, "end": 9, "text": "passage", "score": 0.5}


def events(*pairs: tuple[str, object]) -> bytes:
    return b"".join(f"event: {name}\ndata: {json.dumps(value)}\n\n".encode() for name, value in pairs)


END = {"generator": "extractive", "embedder": "hashing", "degraded": ["generator"], "timings_ms": {"total": 1.5}}
FULL = (
    events(("citations", {"citations": [CITATION]})),
    events(("token", {"text": "one "})),
    events(("token", {"text": "two"})),
    events(("done", END)),
)


def test_a_token_is_asked_for_with_basic_credentials(grid: GridServer, client: GridClient) -> None:
    grid.answer(b'{"access_token":"t","token_type":"Bearer","expires_in":600}')
    token = client.token("me", "secret", "rag:read")
    assert (token.access_token, token.expires_in_s) == ("t", 600)
    [seen] = grid.seen
    assert (seen.method, seen.path) == ("POST", "/oauth2/token")
    assert seen.body == b"grant_type=client_credentials&scope=rag%3Aread"
    assert seen.headers["authorization"].startswith("Basic ")


def test_a_document_is_sent_as_it_is(grid: GridServer, client: GridClient) -> None:
    grid.answer(b'{"document":"a b/\xc3\xbc.md","status":"replaced","chunks":7}')
    result = client.documents.ingest("a b/ü.md", b"\x00\xff# raw", "text/markdown")
    assert (result.status, result.chunks) == ("replaced", 7)
    [seen] = grid.seen
    assert seen.path == "/rag/v1/documents?name=a+b%2F%C3%BC.md"
    assert seen.headers["content-type"] == "text/markdown"
    assert seen.headers["authorization"] == "Bearer reader-token"
    assert seen.body == b"\x00\xff# raw"


def test_an_answer_with_citations(grid: GridServer, client: GridClient) -> None:
    body = {
        "answer": "yes",
        "citations": [CITATION],
        "generator": "extractive",
        "embedder": "onnx",
        "timings_ms": {"a": 1},
    }
    grid.answer(json.dumps(body).encode())
    answer = client.ask("why?", 3)
    assert (answer.answer, answer.citations[0].document, answer.degraded) == ("yes", "a.md", ())
    assert json.loads(grid.seen[0].body) == {"question": "why?", "k": 3, "stream": False}


def test_a_streamed_answer_comes_piece_by_piece(grid: GridServer, client: GridClient) -> None:
    grid.gates = [threading.Event(), threading.Event(), threading.Event()]
    grid.answer(*FULL, content_type="text/event-stream")
    stream = client.ask_stream("why?")
    assert isinstance(next(stream), Cited)  # the server holds the rest back until the gate opens
    grid.gates[0].set()
    assert next(stream) == Piece(text="one ")
    grid.gates[1].set()
    grid.gates[2].set()
    assert list(stream)[-1] == Done(
        generator="extractive", embedder="hashing", degraded=("generator",), timings_ms={"total": 1.5}
    )


async def test_the_asynchronous_client_streams_the_same(grid: GridServer, async_client: AsyncGridClient) -> None:
    grid.answer(*FULL, content_type="text/event-stream")
    kinds = [type(event) async for event in async_client.ask_stream("why?")]
    assert kinds == [Cited, Piece, Piece, Done]


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_stream_that_ends_early_is_an_error(grid: GridServer, client: GridClient, is_cut: bool) -> None:
    grid.answer(*FULL[:2], content_type="text/event-stream", is_cut=is_cut)
    stream = client.ask_stream("why?")
    assert [next(stream), next(stream)][1] == Piece(text="one ")
    with pytest.raises(UnreachableError):
        next(stream)


@pytest.mark.parametrize("is_cut", [False, True])
async def test_the_asynchronous_client_notices_it_too(
    grid: GridServer, async_client: AsyncGridClient, is_cut: bool
) -> None:
    grid.answer(*FULL[:2], content_type="text/event-stream", is_cut=is_cut)
    with pytest.raises(UnreachableError):
        [event async for event in async_client.ask_stream("why?")]


@pytest.mark.parametrize(
    ("status", "kind"), [(401, AuthError), (403, AuthError), (422, RefusedError), (503, UnreachableError)]
)
async def test_refusals_are_the_same_everywhere(
    grid: GridServer,
    client: GridClient,
    async_client: AsyncGridClient,
    status: int,
    kind: type[RagridError],
) -> None:
    problem = json.dumps({"status": status, "code": "some-code", "detail": "what was wrong"}).encode()
    grid.answer(problem, status=status, content_type="application/problem+json")

    async def consume(answers: AsyncIterator[object]) -> None:
        async for _ in answers:
            pass

    waits: list[Callable[[], object]] = [
        lambda: client.ask("?"),
        lambda: list(client.ask_stream("?")),
        lambda: list(client.documents.list()),
    ]
    awaits: list[Callable[[], Awaitable[object]]] = [
        lambda: async_client.ask("?"),
        lambda: consume(async_client.ask_stream("?")),
        lambda: consume(async_client.documents.list()),
    ]
    messages = []
    for wait in waits:
        with pytest.raises(kind, match="what was wrong") as raised:
            wait()
        messages.append(str(raised.value))
    for wait_for in awaits:
        with pytest.raises(kind, match="what was wrong") as raised:
            await wait_for()
        messages.append(str(raised.value))
    assert messages[:3] == messages[3:]


def test_the_list_of_documents_is_read_page_by_page(grid: GridServer, client: GridClient) -> None:
    pages = iter(
        [
            {"documents": [{"document": "a", "chunks": 1}, {"document": "b"}], "next": "c1"},
            {"documents": [{"document": "c"}]},
        ]
    )
    grid.reply = lambda _: Reply(chunks=(json.dumps(next(pages)).encode(),))
    assert [one.document for one in client.documents.list()] == ["a", "b", "c"]
    assert [one.path for one in grid.seen] == ["/rag/v1/documents", "/rag/v1/documents?cursor=c1"]


def test_a_list_that_goes_round_in_circles_ends(grid: GridServer, client: GridClient) -> None:
    grid.answer(b'{"documents":[],"next":"again"}')
    with pytest.raises(RagridError, match="same page twice"):
        list(client.documents.list())
    assert len(grid.seen) == 2


def test_a_document_is_deleted(grid: GridServer, client: GridClient) -> None:
    grid.answer(status=204)
    client.documents.delete("a.md")
    assert (grid.seen[0].method, grid.seen[0].path) == ("DELETE", "/rag/v1/documents?name=a.md")


def test_a_redirect_is_named_and_not_followed(grid: GridServer, client: GridClient) -> None:
    grid.reply = lambda _: Reply(308, headers={"location": "https://127.0.0.1:8443/rag/v1/ask"})
    for call in (lambda: client.ask("?"), lambda: list(client.ask_stream("?"))):
        with pytest.raises(RefusedError, match=r"redirects to 'https://127.0.0.1:8443"):
            call()
    assert len(grid.seen) == 2


def test_the_environment_does_not_choose_where_a_token_goes(
    grid: GridServer, client: GridClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    grid.answer(b'{"answer":"direct"}')
    with GridClient(grid.address, token="t") as fresh:
        assert fresh.ask("?").answer == "direct"


def test_nobody_there(free_port: int) -> None:
    with GridClient(f"http://127.0.0.1:{free_port}", token="t") as client:
        with pytest.raises(UnreachableError, match=r"cannot connect: .*; is the grid up"):
            client.ask("?")
        with pytest.raises(UnreachableError, match="cannot connect"):
            list(client.ask_stream("?"))


def test_without_a_token_nothing_is_sent(grid: GridServer) -> None:
    with GridClient(grid.address) as client, pytest.raises(AuthError, match="ragrid token issue"):
        client.ask("?")
    assert grid.seen == []


def test_only_the_given_authority_is_trusted(grid: GridServer, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1", "-nodes")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    run(
        ("openssl", "req", "-x509", *curve, *subject, "-keyout", str(key), "-out", str(certificate)),
        timeout_s=20,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    grid.server.socket = context.wrap_socket(grid.server.socket, server_side=True)
    grid.answer(b'{"answer":"trusted"}')
    address = grid.address.replace("http:", "https:")
    with GridClient(address, token="t") as stranger, pytest.raises(UnreachableError, match="is not trusted"):
        stranger.ask("?")
    with GridClient(address, token="t", ca_file=certificate) as friend:
        assert friend.ask("?").answer == "trusted"


def test_a_file_that_is_no_authority_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"absent.pem: no such file"):
        GridClient("https://127.0.0.1:1", ca_file=tmp_path / "absent.pem")
    (tmp_path / "empty.pem").write_text("nothing here\n")
    with pytest.raises(RagridError, match=r"empty.pem: .* holds no certificate"):
        GridClient("https://127.0.0.1:1", ca_file=tmp_path / "empty.pem")
    with pytest.raises(UsageError):
        GridClient("127.0.0.1:8443")
