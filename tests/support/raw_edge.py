"""Both ends of the edge without a library that would mend what passes: raw requests in, exact bytes behind it."""

import contextlib
import socket
import threading
from dataclasses import dataclass, field

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
_AGENT = b"ragrid-gateway"


@dataclass(frozen=True)
class Received:
    """One request as it arrived behind the edge: names in lower case, in order, with repetitions."""

    method: str
    target: str
    fields: tuple[tuple[str, str], ...]
    body: bytes

    def values(self, name: str) -> list[str]:
        """Return every value of a field."""
        return [value for key, value in self.fields if key == name]


@dataclass
class Recorder:
    """A backend that reads strictly, answers 200, and keeps every request and every byte that is no request."""

    received: list[Received] = field(default_factory=list)
    strays: list[bytes] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=512)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        """Take no more connections; those that are open end with the edge."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError), connection.makefile("rb") as reader:
            while head := _head(reader):
                try:
                    request, length = _parse(head)
                except ValueError:
                    self.strays.append(head)
                    return
                body = reader.read(length)
                if len(body) == length and _AGENT.decode() not in request.values("user-agent"):
                    self.received.append(Received(request.method, request.target, request.fields, body))
                connection.sendall(ANSWER)


def _head(reader: object) -> bytes:
    lines = []
    while line := reader.readline(200_000):  # type: ignore[attr-defined]  # the file object of a socket
        lines.append(line)
        if line in (b"\r\n", b"\n"):
            return b"".join(lines)
    return b""


def _parse(head: bytes) -> tuple[Received, int]:
    """Read a head as the grammar has it, and nothing else. Raises ValueError."""
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    method, target, version = first.split(" ")
    if version != "HTTP/1.1" or not method.isascii() or not method.isalpha() or not target.startswith("/"):
        raise ValueError(first)
    fields = []
    for line in lines:
        name, separator, value = line.partition(":")
        if (
            not separator
            or not name
            or any(mark in name for mark in " \t\r\n\0")
            or any(mark in value for mark in "\r\n\0")
        ):
            raise ValueError(line)
        fields.append((name.lower(), value.strip()))
    lengths = [value for name, value in fields if name == "content-length"]
    if len(lengths) > 1 or any(name == "transfer-encoding" for name, _ in fields):
        raise ValueError("a body whose end two readers could see in two places")
    return Received(method, target, tuple(fields), b""), int(lengths[0]) if lengths else 0


def exchange(port: int, content: bytes, *, patience_s: float = 10.0) -> bytes:
    """Send exactly `content` and return everything that comes back before the end or `patience_s` of silence."""
    with socket.create_connection(("127.0.0.1", port), timeout=patience_s) as connection:
        answer = b""
        with contextlib.suppress(OSError):
            connection.sendall(content)
            while piece := connection.recv(65536):
                answer += piece
    return answer


def statuses(answer: bytes) -> list[int]:
    """Return the statuses of the answers in `answer`, those of 100 left out."""
    found = [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:] if part[:3].isdigit()]
    return [status for status in found if status != 100]
