"""Streams through the edge: passed on as they come, visibly broken when they break, cut when the client leaves."""

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

CHAT = "/v1/chat/completions"
EVENT = b"data: %d\n\n"
#: A broken stream must be seen as broken, and this is longer than any wait of a test for it.
LIMIT_S = 20.0


class Streamer:
    """A backend that answers one request at a time by `script(connection)`, which writes raw bytes."""

    def __init__(self, script: Callable[[socket.socket], None]) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.ended = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            head = connection.recv(65536)
            if b"ragrid-gateway" in head:  # a health check
                with contextlib.suppress(OSError):
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            with contextlib.suppress(OSError):
                self._script(connection)
            self.ended.set()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def streamers() -> Iterator[Callable[..., Streamer]]:
    started: list[Streamer] = []

    def start(script: Callable[[socket.socket], None]) -> Streamer:
        started.append(Streamer(script))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def _chunk(content: bytes) -> bytes:
    return b"%x\r\n" % len(content) + content + b"\r\n"


CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CLOSED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
OLD = b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


@pytest.mark.parametrize(("head", "is_chunked"), [(CHUNKED, True), (CLOSED, False), (OLD, False)])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_no_framing_holds_a_stream_back(
    edges: Any, streamers: Any, endpoint: Any, head: bytes, encoding: str, *, is_chunked: bool
) -> None:
    """The second event is only made when the first has been read: a buffer anywhere would never let the test end."""
    was_read = threading.Event()

    def script(connection: socket.socket) -> None:
        wrap = _chunk if is_chunked else bytes
        connection.sendall(head + wrap(EVENT % 0))
        assert was_read.wait(LIMIT_S)
        connection.sendall(wrap(EVENT % 1) + (b"0\r\n\r\n" if is_chunked else b""))

    edge = edges()
    edge.push({"vllm": [endpoint(streamers(script).port)]})
    headers = {**edge.signer.bearer(), "Accept-Encoding": encoding}
    with httpx.stream("POST", edge.url + CHAT, headers=headers, timeout=LIMIT_S) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "data: 0"
        was_read.set()
        assert [line for line in lines if line] == ["data: 1"]


@pytest.mark.parametrize(
    ("path", "media_type"),
    [("/memory/v1/changes/stream", b"text/event-stream"), ("/memory/v1/export", b"application/x-ndjson")],
)
def test_what_the_memory_streams_is_not_held_back(
    edges: Any, streamers: Any, endpoint: Any, path: str, media_type: bytes
) -> None:
    was_read = threading.Event()
    head = CHUNKED.replace(b"text/event-stream", media_type + b"\r\nX-Accel-Buffering: no")

    def script(connection: socket.socket) -> None:
        connection.sendall(head + _chunk(EVENT % 0))
        assert was_read.wait(LIMIT_S)
        connection.sendall(_chunk(EVENT % 1) + b"0\r\n\r\n")

    edge = edges()
    edge.push({"memory": [endpoint(streamers(script).port)]})
    headers = {**edge.signer.bearer(), "Accept-Encoding": "gzip"}
    with httpx.stream("GET", edge.url + path, headers=headers, timeout=LIMIT_S) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "data: 0"
        was_read.set()
        assert [line for line in lines if line] == ["data: 1"]


def _read_raw(edge: Any) -> tuple[int, bytes, bool]:
    """Return status, body and whether the body came to its own end; http.client tells an end from a cut."""
    connection = http.client.HTTPConnection("127.0.0.1", edge.config.http_port, timeout=LIMIT_S)
    with contextlib.closing(connection):
        connection.request("POST", CHAT, headers=edge.signer.bearer())
        answer = connection.getresponse()
        try:
            return answer.status, answer.read(), True
        except http.client.IncompleteRead as error:
            return answer.status, error.partial, False


@pytest.mark.parametrize("how", ["closed", "reset"])
def test_a_backend_that_dies_in_a_stream_leaves_it_visibly_broken(
    edges: Any, streamers: Any, endpoint: Any, how: str
) -> None:
    """Never the last chunk that says "this was all", and never a second try: the client has read something already."""
    tries = []

    def script(connection: socket.socket) -> None:
        tries.append(1)
        connection.sendall(CHUNKED + _chunk(EVENT % 0))
        time.sleep(0.05)  # so that the event is on its way before the end is
        if how == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    edge = edges()
    streams = [streamers(script) for _ in range(2)]
    edge.push({"vllm": [endpoint(one.port) for one in streams]})
    status, body, is_whole = _read_raw(edge)
    assert (status, is_whole) == (200, False)
    assert body == EVENT % 0
    assert len(tries) == 1


def test_a_backend_that_dies_in_a_sized_answer_leaves_it_too_short(edges: Any, streamers: Any, endpoint: Any) -> None:
    def script(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

    edge = edges()
    edge.push({"vllm": [endpoint(streamers(script).port)]})
    assert _read_raw(edge) == (200, b"half", False)


def test_a_client_that_leaves_is_noticed_within_one_event(edges: Any, streamers: Any, endpoint: Any) -> None:
    """The backend counts the events that it could still write after the client had gone."""
    seen_by_client, written_after, gone = threading.Event(), [], threading.Event()

    def script(connection: socket.socket) -> None:
        connection.sendall(CHUNKED + _chunk(EVENT % 0))
        assert gone.wait(LIMIT_S)
        connection.settimeout(LIMIT_S)
        if connection.recv(1) != b"":  # the edge closes: vLLM sees the same and stops generating
            written_after.append("something else than an end")

    edge = edges()
    streamer = streamers(script)
    edge.push({"vllm": [endpoint(streamer.port)]})
    with httpx.stream("POST", edge.url + CHAT, headers=edge.signer.bearer(), timeout=LIMIT_S) as answer:
        assert next(answer.iter_lines()) == "data: 0"
        seen_by_client.set()
    gone.set()
    assert streamer.ended.wait(LIMIT_S)
    assert written_after == []


def test_the_trace_of_a_caller_goes_on_unchanged(edge: Any) -> None:
    sent = {
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate": "vendor=value,other=1",
    }
    for path in ("/memory/v1/memories/1", "/v1/models", "/api/v2/heartbeat", "/rag/v1/documents"):
        assert httpx.get(edge.url + path, headers={**edge.signer.bearer(), **sent}).status_code == 200
        seen = edge.backend.seen()[-1]["headers"]
        assert {name: seen.get(name) for name in sent} == sent, path


def test_a_line_of_the_access_log_says_all_and_no_secret(edge: Any) -> None:
    """One JSON object a line, also for what was refused; no token, no query (which may hold one), no caller's field."""
    token = edge.signer.token()
    paths = ("/memory/v1/memories/1?access_token=" + token, "/nope", "/v1/models", '/memory/v1/memories/"x')
    ids = []
    for path in paths:
        headers = {"Authorization": f"Bearer {token}", "Cookie": "session=hidden-cookie", "User-Agent": "hidden-agent"}
        ids.append(httpx.get(edge.url + path, headers=headers).headers["x-request-id"])
    edge.stop()  # flushes the log
    text = (edge.config.log_directory / "access.log").read_text()
    lines = {line["request_id"]: line for line in map(json.loads, text.splitlines())}
    first = lines[ids[0]]
    assert set(first) == {
        *("time", "request_id", "service", "route", "subject", "method", "path", "status", "sent_bytes", "took_s"),
        *("upstream", "upstream_status", "first_byte_s", "client"),
    }
    told = {name: first[name] for name in ("service", "route", "subject", "method", "path", "status")}
    assert told == {
        "service": "memory",
        "route": "read",
        "subject": "ada",
        "method": "GET",
        "path": "/memory/v1/memories/1",
        "status": 200,
    }
    assert first["upstream"] == f"127.0.0.1:{edge.backend.port}"
    assert lines[ids[1]]["status"] == 404
    assert set(ids) <= set(lines)
    written = text + (edge.directory / "stderr.log").read_text()
    for secret in (token, token.split(".")[2], "hidden-cookie", "hidden-agent", "access_token"):
        assert secret not in written
