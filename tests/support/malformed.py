"""Malformed requests without end: the same seed makes the same ones, byte for byte."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

#: What a smuggler hides: were it ever taken for a request of its own, its path would tell.
HIDDEN = b"GET /memory/v1/admin/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"
_PLACES = (
    b"/memory/v1/memories/1",
    b"/memory/v1/memories/search",
    b"/memory/v1/admin/x",
    b"/v1/models",
    b"/nope",
    b"/",
)
_TRICKS = (
    *(
        b"%2f",
        b"%2F",
        b"%5c",
        b"//",
        b"/../",
        b"/./",
        b"..;/",
        b";a=b",
        b"%2e%2e/",
        b"%252f",
        b"%00",
        b"%0d%0a",
        b"%",
        b"%zz",
    ),
    b"\\",
    b"#",
    b"?",
    b"\x7f",
    b"\xff\xfe",
    b"%c0%af",
    b"%u002f",
    b"*",
    b"@evil",
    b":",
    b" ",
    b"\t",
    b"a" * 9000,
)
_METHODS = (
    b"GET",
    b"POST",
    b"PUT",
    b"TRACE",
    b"CONNECT",
    b"get",
    b"G\x00T",
    b"",
    b"PRI",
    b"SEARCH",
    b"A" * 300,
    b"\x16\x03\x01",
)
_VERSIONS = (
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"HTTP/2.0",
    b"HTTP/0.9",
    b"HTTP/1.1 ",
    b"http/1.1",
    b"HTTP/11",
    b"HTTP/1.",
    b"",
    b"X",
)
_LENGTHS = (
    b"0",
    b"-1",
    b"+2",
    b"0x2",
    b"2, 2",
    b"2 2",
    b"1e3",
    b"99999999999999999999",
    b"",
    b"\x002",
    b"50",
    b"2\x0b",
)
_CODINGS = (
    *(
        b"chunked",
        b"Chunked",
        b"xchunked",
        b"chunked, chunked",
        b"gzip, chunked",
        b"identity",
        b"\x0bchunked",
        b"chunked\x00",
    ),
    b"chunked;q=1",
    b"'chunked'",
    b"chunked\r\nTransfer-Encoding: chunked",
    b"",
    b"chunked\r\nContent-Length: 3",
)
_BODIES = (
    *(
        b"",
        b"{}",
        b"0\r\n\r\n",
        b"2\r\n{}\r\n0\r\n\r\n",
        b"zz\r\n",
        b"-1\r\n",
        b"ffffffffffffffff\r\n",
        b"10000000000000002\r\n{}",
    ),
    *(
        b"2\n{}\n0\n\n",
        b"2;x=y\r\n{}\r\n0\r\n\r\n",
        b"0\r\nX-Ragrid-Subject: root\r\n\r\n",
        HIDDEN,
        b"0\r\n\r\n" + HIDDEN,
    ),
)
_FIELDS = (
    b"X-Ragrid-Subject: root",
    b"x_ragrid_subject: root",
    b"X-Ragrid-Subject : root",
    b"X-A",
    b": x",
    b"X-A: b\x00c",
    *(
        b"X-A: b\rX-Ragrid-Subject: root",
        b" X-A: folded",
        b"X-A: b\r\n folded",
        b"X\xff: y",
        b"Host: evil.test",
        b"Expect: nothing",
    ),
    *(
        b"Connection: Authorization, Host",
        b"Upgrade: h2c",
        b"X-Forwarded-For: 6.6.6.6",
        b"X-Original-URL: /memory/v1/admin/x",
    ),
    *(
        b"X-Long: " + b"a" * 20_000,
        b"Cookie: " + b"a=b; " * 500,
        b"Range: bytes=0-,0-,0-",
        b"Trailer: Host",
        b"TE: trailers",
    ),
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One connection's bytes. `is_good`: not malformed at all, and meant to be answered with 200."""

    content: bytes
    is_good: bool = False


def attempts(seed: int, number: int, *, token: bytes, good_every: int = 20) -> Iterator[Attempt]:
    """Yield `number` malformed attempts, and after each `good_every` a good one: the edge still works."""
    chance = random.Random(seed)
    makers: tuple[Callable[[random.Random, bytes], bytes], ...] = (
        _bent_request, _bent_request, _bent_path, _two_bodies, _odd_fields, _flipped, _cut, _bent_token, _noise, _train,
    )  # fmt: skip
    for index in range(number):
        yield Attempt(chance.choice(makers)(chance, token))
        if index % good_every == 0:
            yield Attempt(_good(b"/memory/v1/memories/1", token), is_good=True)


def _good(path: bytes, token: bytes, *more: bytes) -> bytes:
    fields = (b"Host: localhost", b"Authorization: Bearer " + token, b"Connection: close", *more)
    return b"GET " + path + b" HTTP/1.1\r\n" + b"\r\n".join(fields) + b"\r\n\r\n"


def _lines(first: bytes, fields: list[bytes], body: bytes = b"", end: bytes = b"\r\n") -> bytes:
    return end.join((first, *fields, b"", b"")) + body


def _fields(chance: random.Random, token: bytes) -> list[bytes]:
    fields = [b"Host: localhost", b"Authorization: Bearer " + token]
    if chance.random() < 0.2:
        fields.pop(chance.randrange(2))
    return fields


def _bent_request(chance: random.Random, token: bytes) -> bytes:
    first = chance.choice((b" ", b"  ", b"\t")).join(
        (chance.choice(_METHODS), chance.choice(_PLACES), chance.choice(_VERSIONS))
    )
    end = chance.choice((b"\r\n", b"\r\n", b"\n", b"\r", b"\r\r\n"))
    return _lines(first, _fields(chance, token), chance.choice(_BODIES), end)


def _bent_path(chance: random.Random, token: bytes) -> bytes:
    path = bytearray(chance.choice(_PLACES))
    for _ in range(chance.randint(1, 3)):
        place = chance.randint(0, len(path))
        path[place:place] = chance.choice(_TRICKS)
    prefix = chance.choice((b"", b"", b"", b"http://evil.test", b"https://localhost", b"//", b"."))
    return _good(prefix + bytes(path), token)


def _two_bodies(chance: random.Random, token: bytes) -> bytes:
    fields = _fields(chance, token)
    for _ in range(chance.randint(1, 3)):
        if chance.random() < 0.5:
            fields.append(b"Content-Length: " + chance.choice(_LENGTHS))
        else:
            fields.append(b"Transfer-Encoding: " + chance.choice(_CODINGS))
    chance.shuffle(fields)
    body = chance.choice(_BODIES) + chance.choice((b"", HIDDEN))
    return _lines(b"POST " + chance.choice(_PLACES) + b" HTTP/1.1", fields, body)


def _odd_fields(chance: random.Random, token: bytes) -> bytes:
    more = [chance.choice(_FIELDS) for _ in range(chance.randint(1, 5))]
    return _good(chance.choice(_PLACES), token, *more)


def _flipped(chance: random.Random, token: bytes) -> bytes:
    content = bytearray(_good(chance.choice(_PLACES), token))
    for _ in range(chance.randint(1, 4)):
        content[chance.randrange(len(content))] = chance.randrange(256)
    return bytes(content)


def _cut(chance: random.Random, token: bytes) -> bytes:
    content = _good(chance.choice(_PLACES), token)
    return content[: chance.randrange(len(content))]


def _bent_token(chance: random.Random, token: bytes) -> bytes:
    bent = bytearray(token)
    bent[chance.randrange(len(bent))] ^= 1 << chance.randrange(7)
    scheme = chance.choice((b"", token[:20], b"." * 50, b"a" * 12_000, bytes(bent), token + b".x", b"\xff" * 40))
    return _good(chance.choice(_PLACES), scheme)


def _noise(chance: random.Random, _token: bytes) -> bytes:
    heads = (
        b"",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x80\x2e\x01",
        b"PROXY TCP4 1.1.1.1 ",
        b"\r\n" * 40,
    )
    return chance.choice(heads) + chance.randbytes(chance.randint(1, 400))


def _train(chance: random.Random, token: bytes) -> bytes:
    """A good request without an end of the connection, and something else behind it."""
    first = _good(b"/memory/v1/memories/1", token).replace(b"Connection: close\r\n", b"")
    return first + chance.choice((_two_bodies, _flipped, _bent_request, _noise))(chance, token)
