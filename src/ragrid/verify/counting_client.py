"""A client that counts for itself what became of each of its requests: answered by whom and when, or lost and why."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

#: A request that has no answer after so long is lost.
TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One request that was answered with 200 and its whole body; times are those of `time.monotonic`."""

    began_s: float
    ended_s: float
    instance: str


@dataclass
class Tally:
    """What became of the requests so far: every one is an answer or a fault. `waiting`: connection → when it asked."""

    answers: list[Answer] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    waiting: dict[object, float] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def requests(self) -> int:
        """How many have ended, one way or the other."""
        return len(self.answers) + self.faults.total()

    def is_settled(self, until_s: float) -> bool:
        """Whether every request that began before `until_s` has ended."""
        return all(began_s >= until_s for began_s in self.waiting.values())

    async def more(self, number: int) -> None:
        """Wait until so many more have ended. Raises TimeoutError when they do not."""
        wanted = self.requests + number
        async with asyncio.timeout(TIMEOUT_S):
            while self.requests < wanted:
                self._news.clear()
                await self._news.wait()

    def answered(self, answer: Answer) -> None:
        """Count an answer."""
        self.answers.append(answer)
        self._news.set()

    def lost(self, why: str) -> None:
        """Count a request that got none."""
        self.faults[why] += 1
        self._news.set()


@contextlib.asynccontextmanager
async def load(
    port: int, *, path: str, tokens: Sequence[str], connections: int, method: str = "GET"
) -> AsyncIterator[Tally]:
    """Ask for `path` over that many connections, one request after the other on each, until the block ends.

    What was asked before the end is waited for, so that every request counts.
    """
    tally, ending = Tally(), asyncio.Event()

    async def ask_on(number: int) -> None:
        request = _request(method, path, tokens[number % len(tokens)])
        while not ending.is_set():
            try:
                await _ask_on_one_connection(port, request, tally, ending)
            except (OSError, EOFError) as error:  # TimeoutError is an OSError
                tally.lost(type(error).__name__)
            except ValueError as error:
                tally.lost(str(error))

    async with asyncio.TaskGroup() as group:
        for number in range(connections):
            group.create_task(ask_on(number))
        try:
            yield tally
        finally:
            ending.set()


def _request(method: str, path: str, token: str) -> bytes:
    fields = ("Host: bench", f"Authorization: Bearer {token}", "Content-Length: 0")
    return "\r\n".join((f"{method} {path} HTTP/1.1", *fields, "", "")).encode()


async def _ask_on_one_connection(port: int, request: bytes, tally: Tally, ending: asyncio.Event) -> None:
    """Ask until the end. Raises ValueError for another status than 200, and whatever a broken connection raises."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while not ending.is_set():
            began_s = tally.waiting[writer] = time.monotonic()
            writer.write(request)
            async with asyncio.timeout(TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
                body = await reader.readexactly(length)
            status = head.split(b" ", 2)[1].decode()
            if status != "200":
                raise ValueError(f"status {status}")
            tally.answered(Answer(began_s, time.monotonic(), body.decode()))
    finally:
        tally.waiting.pop(writer, None)
        writer.close()
