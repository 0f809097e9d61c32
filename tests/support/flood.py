"""Many connections at once from one thread: each sends its bytes and reads to the end, whatever comes."""

import collections
import contextlib
import selectors
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from support.malformed import Attempt
from support.raw_edge import statuses

#: A malformed request may look unfinished, and the edge waits for the rest: after this long it gets an end instead.
PATIENCE_S = 0.1
#: Nobody is left waiting for longer than this.
LIMIT_S = 20.0


@dataclass
class Outcome:
    """What came back."""

    sent: int = 0
    statuses: collections.Counter[int] = field(default_factory=collections.Counter)
    unanswered: int = 0
    failures: list[tuple[bytes, bytes]] = field(default_factory=list)
    good: int = 0
    good_refused: list[bytes] = field(default_factory=list)
    hung: list[bytes] = field(default_factory=list)


@dataclass(eq=False)
class _Connection:
    attempt: Attempt
    socket: socket.socket
    began_s: float
    left: memoryview
    answer: bytearray = field(default_factory=bytearray)


class Flood:
    """Sends `attempts` to `port`, `at_once` at a time; `documented` are the only statuses from 500 on that may come."""

    def __init__(self, port: int, *, documented: frozenset[int], at_once: int = 300) -> None:
        self._port = port
        self._documented = documented
        self._at_once = at_once
        self._selector = selectors.DefaultSelector()
        self._waiting: collections.deque[_Connection] = collections.deque()
        self._open: set[_Connection] = set()
        self.outcome = Outcome()

    def run(self, attempts: Iterable[Attempt]) -> Outcome:
        """Send everything and return what came of it."""
        source = iter(attempts)
        with self._selector:
            while self._fill(source) or self._open:
                for key, events in self._selector.select(0.02):
                    self._turn(key.data, events)
                self._show_out()
        return self.outcome

    def _fill(self, source: Iterator[Attempt]) -> bool:
        while len(self._open) < self._at_once:
            attempt = next(source, None)
            if attempt is None:
                return False
            one = socket.socket()
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                one.connect(("127.0.0.1", self._port))
            connection = _Connection(attempt, one, time.monotonic(), memoryview(attempt.content))
            self._selector.register(one, selectors.EVENT_WRITE, connection)
            self._open.add(connection)
            self._waiting.append(connection)
            self.outcome.sent += 1
        return True

    def _turn(self, connection: _Connection, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                connection.left = connection.left[connection.socket.send(connection.left) :]
                if not connection.left:
                    self._selector.modify(connection.socket, selectors.EVENT_READ, connection)
                    return
            if events & selectors.EVENT_READ:
                piece = connection.socket.recv(65536)
                connection.answer += piece
                if not piece:
                    self._finish(connection)
        except BlockingIOError:
            return
        except OSError:  # refused in the middle of a request: what came before it counts
            with contextlib.suppress(OSError):
                connection.answer += connection.socket.recv(65536)
            self._finish(connection)

    def _show_out(self) -> None:
        now_s = time.monotonic()
        while self._waiting and now_s - self._waiting[0].began_s > PATIENCE_S:
            connection = self._waiting.popleft()
            if connection in self._open and not connection.attempt.is_good:
                with contextlib.suppress(OSError):
                    connection.socket.shutdown(socket.SHUT_WR)
        for connection in [one for one in self._open if now_s - one.began_s > LIMIT_S]:
            self.outcome.hung.append(connection.attempt.content)
            self._finish(connection)

    def _finish(self, connection: _Connection) -> None:
        self._selector.unregister(connection.socket)
        connection.socket.close()
        self._open.discard(connection)
        self._count(connection.attempt, bytes(connection.answer))

    def _count(self, attempt: Attempt, answer: bytes) -> None:
        found = statuses(answer)
        self.outcome.statuses.update(found)
        self.outcome.unanswered += not found
        if any(status >= 500 and status not in self._documented for status in found):
            self.outcome.failures.append((attempt.content, answer))
        if attempt.is_good:
            self.outcome.good += 1
            if found != [200]:
                self.outcome.good_refused.append(answer)
