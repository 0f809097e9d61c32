"""What an attacker tries at a reverse proxy: two readings of one request, great sizes, slowness, words of a proxy."""

import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from ragrid.gateway.config import Patience
from support.raw_edge import Recorder, exchange, statuses

READ = b"/memory/v1/memories/1"
SEARCH = b"/memory/v1/memories/search"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
#: What a smuggler hides in a body; if it ever arrives as a request of its own, its path tells.
HIDDEN = b"GET /memory/v1/admin/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    one = Recorder()
    try:
        yield one
    finally:
        one.stop()


@pytest.fixture
def hard_edge(edges: Any, endpoint: Any, recorder: Recorder) -> Any:
    """An edge that waits a second for headers and bodies, before a backend that records exactly what arrives."""
    edge = edges(patience=Patience(header_s=1.0, body_s=1.0))
    edge.push({"memory": [endpoint(recorder.port)]})
    return edge


def _head(
    edge: Any, method: bytes, target: bytes, *, roles: tuple[str, ...] = ("reader",), version: bytes = b"1.1"
) -> bytes:
    token: bytes = edge.signer.token(roles=list(roles)).encode()
    return (
        method
        + b" "
        + target
        + b" HTTP/"
        + version
        + b"\r\nHost: localhost\r\nAuthorization: Bearer "
        + token
        + b"\r\n"
    )


#: name -> (fields and body, whatever follows, the answer's status)
TWO_READINGS: dict[str, tuple[bytes, int]] = {
    "chunked twice": (CHUNKED * 2 + b"\r\n0\r\n\r\n" + HIDDEN, 400),
    "chunked in two spellings": (CHUNKED + b"transfer-encoding: Chunked\r\n\r\n0\r\n\r\n" + HIDDEN, 400),
    "chunked after identity": (b"Transfer-Encoding: identity\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + HIDDEN, 400),
    "chunked with a length": (CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n" + HIDDEN, 400),
    "a length, then chunked": (b"Content-Length: 5\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + HIDDEN, 400),
    "an unknown encoding": (b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + HIDDEN, 501),
    "a vertical tab before chunked": (b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + HIDDEN, 501),
    "a list of encodings": (b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + HIDDEN, 501),
    "a space before the colon": (b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + HIDDEN, 400),
    "a folded field": (b"X-A: b\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN, 400),
    "a field after a bare carriage return": (b"X-A: b\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN, 400),
    "two lengths": (b"Content-Length: 0\r\nContent-Length: 50\r\n\r\n" + HIDDEN, 400),
    "one length twice": (b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}" + HIDDEN, 400),
    "a list of lengths": (b"Content-Length: 2, 2\r\n\r\n{}" + HIDDEN, 400),
    "a signed length": (b"Content-Length: +2\r\n\r\n{}" + HIDDEN, 400),
    "a negative length": (b"Content-Length: -1\r\n\r\n" + HIDDEN, 400),
    "a length in hexadecimal": (b"Content-Length: 0x2\r\n\r\n{}" + HIDDEN, 400),
    "a length beyond 64 bits": (b"Content-Length: 18446744073709551618\r\n\r\n{}" + HIDDEN, 400),
    "a chunk size that is none": (CHUNKED + b"\r\nzz\r\n" + HIDDEN, 400),
    "a chunk size beyond 64 bits": (CHUNKED + b"\r\n10000000000000002\r\n{}\r\n0\r\n\r\n" + HIDDEN, 400),
    "a second host": (b"Host: evil.test\r\nContent-Length: 2\r\n\r\n{}" + HIDDEN, 400),
    "a zero byte": (b"X-A: b\0c\r\nContent-Length: 2\r\n\r\n{}" + HIDDEN, 400),
}


@pytest.mark.parametrize("name", sorted(TWO_READINGS))
def test_a_request_with_two_readings_is_refused_whole(hard_edge: Any, recorder: Recorder, name: str) -> None:
    tail, status = TWO_READINGS[name]
    answer = exchange(hard_edge.config.http_port, _head(hard_edge, b"POST", SEARCH) + tail)
    assert statuses(answer) == [status], answer[:500]
    assert b"application/problem+json" in answer
    assert recorder.received == []
    assert recorder.strays == []


def test_what_follows_a_good_request_is_a_request_of_its_own(hard_edge: Any, recorder: Recorder) -> None:
    """Pipelined: the second one needs a token of its own, and a body is never taken for a request."""
    good = _head(hard_edge, b"POST", SEARCH) + b"Content-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN
    answer = exchange(hard_edge.config.http_port, good + HIDDEN.replace(b"Host:", b"Connection: close\r\nHost:"))
    assert statuses(answer) == [200, 401]
    [arrived] = recorder.received
    assert (arrived.target, arrived.body) == (SEARCH.decode(), HIDDEN)


def test_a_chunked_body_arrives_with_a_length(hard_edge: Any, recorder: Recorder) -> None:
    """One reading for everybody behind the edge; chunk extensions and trailers end here."""
    body = b'2;x="\r\n'.replace(b'"', b"") + b"{}\r\n0\r\nX-Ragrid-Subject: root\r\n\r\n"
    content = _head(hard_edge, b"POST", SEARCH) + CHUNKED + b"Connection: close\r\n\r\n" + body
    assert statuses(exchange(hard_edge.config.http_port, content)) in ([200], [400])
    for arrived in recorder.received:
        assert (arrived.body, arrived.values("content-length"), arrived.values("transfer-encoding")) == (
            b"{}",
            ["2"],
            [],
        )
        assert arrived.values("x-ragrid-subject") == []


TRICKS = [
    "/memory/v1/admin%2fx", "/memory/v1/memories%2f..%2fadmin%2fx", "/memory/v1/memories/..%2fadmin/x",
    "/memory/v1/memories/../admin/x", "/memory/v1/memories/%2e%2e/admin/x", "/memory/v1//admin/x",
    "//memory/v1/admin/x", "/memory/v1/memories/..;/admin/x", "/memory/v1/memories/..;a=b/admin/x",
    "/memory/v1/memories/.;/x",
    "/memory/v1/admin%5cx", "/memory/v1\\admin\\x", "/memory/v1/memories/%252e%252e/admin/x", "/memory/v1/%c0%af/x;y",
    "/memory/v1/admin%00/x",
    "/memory/v1/admin%0d%0aX-Ragrid-Subject:root", "/memory/v1/./admin/x", "/memory/v1/admin/.",
    "/memory/v1/admin/x%", "/memory/v1/admin/x%u002f", "/memory/v1/admin/x%3b", "/memory/v1/memories/x#/../admin",
]  # fmt: skip


@pytest.mark.parametrize("path", TRICKS)
def test_a_path_with_two_readings_goes_nowhere(hard_edge: Any, recorder: Recorder, path: str) -> None:
    """Pitfall 8: the table looks at the decoded path and the raw one goes on, so whatever could differ is refused."""
    head = _head(hard_edge, b"GET", path.encode(), roles=("admin",))
    answer = exchange(hard_edge.config.http_port, head + b"Connection: close\r\n\r\n")
    assert statuses(answer) == [400], answer[:300]
    assert recorder.received == []


def test_a_spelling_that_means_the_same_needs_the_same_permission(hard_edge: Any, recorder: Recorder) -> None:
    for path in (b"/memory/v1/%61dmin/x", b"/%6demory/v1/admin/x", b"http://evil.test/memory/v1/admin/x"):
        answer = exchange(hard_edge.config.http_port, _head(hard_edge, b"GET", path) + b"Connection: close\r\n\r\n")
        assert statuses(answer) == [403], path
    assert recorder.received == []


SIZES = {
    "one field of 64 KB": (b"X-A: " + b"a" * 65536 + b"\r\n", 431),
    "64 KB in many fields": (b"".join(b"X-%d: " % number + b"a" * 1000 + b"\r\n" for number in range(64)), 431),
    "ten thousand fields": (b"".join(b"X%d: 1\r\n" % number for number in range(10_000)), 431),
}


@pytest.mark.parametrize("name", sorted(SIZES))
def test_a_header_that_is_too_large_is_431(hard_edge: Any, recorder: Recorder, name: str) -> None:
    fields, status = SIZES[name]
    answer = exchange(hard_edge.config.http_port, _head(hard_edge, b"GET", READ) + fields + b"\r\n")
    assert statuses(answer) == [status]
    assert b'"code":"header-too-large"' in answer
    assert recorder.received == []


def test_an_address_that_is_too_long_is_414(hard_edge: Any, recorder: Recorder) -> None:
    answer = exchange(hard_edge.config.http_port, _head(hard_edge, b"GET", READ + b"a" * 65536) + b"\r\n")
    assert statuses(answer) == [414]
    assert b"application/problem+json" in answer
    assert recorder.received == []


def test_the_largest_token_still_fits(hard_edge: Any, recorder: Recorder) -> None:
    """8 KB is what the edge takes for a token; a line of the header must have room for it."""
    token = hard_edge.signer.token(padding="x" * 5200)
    assert 7000 < len(token) < 8192
    assert httpx.get(hard_edge.url + READ.decode(), headers={"Authorization": f"Bearer {token}"}).status_code == 200


@pytest.mark.parametrize(("version", "status"), [(b"1.0", 200), (b"2.0", 505), (b"9.9", 505), (b"x", 400)])
def test_a_version_that_is_not_spoken_is_refused(hard_edge: Any, version: bytes, status: int) -> None:
    answer = exchange(hard_edge.config.http_port, _head(hard_edge, b"GET", READ, version=version) + b"\r\n")
    assert statuses(answer) == [status]
    assert status == 200 or b"application/problem+json" in answer


def test_words_of_a_proxy_are_not_a_callers_to_say(hard_edge: Any, recorder: Recorder) -> None:
    """Pitfall 7: whoever is called believes these fields, so no client may send them."""
    said = (
        *(
            "X-Ragrid-Subject",
            "x-ragrid-roles",
            "X-RAGRID-TENANT",
            "X-Real-IP",
            "X-Forwarded-User",
            "X-Forwarded-Prefix",
        ),
        *(
            "X-Original-URL",
            "X-Rewrite-URL",
            "X-HTTP-Method-Override",
            "Proxy-Authorization",
            "Upgrade",
            "HTTP2-Settings",
        ),
        *("Forwarded", "X-Forwarded-Port", "X-Forwarded-Server", "TE", "Keep-Alive", "X_Ragrid_Subject"),
    )
    fields = b"".join(f"{name}: forged\r\n".encode() for name in said)
    spoken = b"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil.test\r\nX-Forwarded-Proto: gopher\r\n"
    spoken += b"X-Request-Id: forged\r\n"
    connection = b"Connection: X-Request-Id, Upgrade, close\r\nX-Kept: kept\r\n\r\n"
    answer = exchange(hard_edge.config.http_port, _head(hard_edge, b"GET", READ) + fields + spoken + connection)
    assert statuses(answer) == [200]
    [arrived] = recorder.received
    assert not [pair for pair in arrived.fields if "forged" in pair[1]]
    assert arrived.values("x-forwarded-for") == ["127.0.0.1"]
    assert arrived.values("x-forwarded-host") == ["localhost"]
    assert arrived.values("x-forwarded-proto") == ["http"]
    assert arrived.values("x-kept") == ["kept"]
    assert len(arrived.values("x-request-id")) == 1


def _connect(port: int, content: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(content)
    return connection


def test_a_thousand_slow_clients_cost_the_others_nothing(hard_edge: Any, recorder: Recorder) -> None:
    """Each sends half a header and waits. The others are served meanwhile, and the slow ones are shown out."""
    port = hard_edge.config.http_port
    slow = [_connect(port, b"GET /memory/v1/memories/1 HTTP/1.1\r\nHost: local") for _ in range(1000)]
    try:
        bearer = hard_edge.signer.bearer()
        with hard_edge.client(**bearer) as client:
            assert {client.get(READ.decode()).status_code for _ in range(200)} == {200}
        ends = [connection.recv(65536) for connection in slow]
    finally:
        for connection in slow:
            connection.close()
    assert {end[:12] for end in ends} <= {b"", b"HTTP/1.1 408"}
    assert len(recorder.received) == 200


def test_a_slow_body_never_reaches_a_backend(hard_edge: Any, recorder: Recorder) -> None:
    """Bodies are collected first, so a client that drips holds a connection to the edge and nothing behind it."""
    head = _head(hard_edge, b"POST", SEARCH) + b"Content-Length: 100\r\n\r\n{"
    slow = [_connect(hard_edge.config.http_port, head) for _ in range(50)]
    try:
        answers = [connection.recv(65536) for connection in slow]
    finally:
        for connection in slow:
            connection.close()
    assert set(answers) == {b""}  # closed: nobody is waiting for words
    assert recorder.received == []


def test_early_data_is_not_taken(edges: Any, ports: Any, leaf: Any) -> None:
    """What comes with a TLS 1.3 ticket could be sent again by whoever recorded it: no ticket promises room for it."""
    edge = edges(tls=leaf.files, https_port=ports(1)[0])
    command = ("openssl", "s_client", "-connect", f"127.0.0.1:{edge.config.https_port}", "-tls1_3", "-ign_eof")
    text = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    done = subprocess.run(command, input=text, capture_output=True, timeout=20, check=False)
    said = done.stdout.decode(errors="replace")
    assert '{"status":"ok"}' in said
    sizes = [line.split(":")[1].strip() for line in said.splitlines() if "Max Early Data" in line]
    assert sizes == ["0"] * len(sizes), said
    assert "New Session Ticket arrived" in said or "TLSv1.3" in said
