"""Server-sent events of a streamed answer, decoded as the bytes arrive (pure).

https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from ragrid.client.models import AnswerEvent, Cited, Done, Piece
from ragrid.client.refusals import refusal
from ragrid.errors import RagridError, UnreachableError

#: One event is at most a list of passages; more than this means that the other side is not what we think.
LARGEST_EVENT_BYTES = 16 * 1024 * 1024

_LINE_END = re.compile(rb"\r\n|\n|\r")
_KINDS: dict[str, type[AnswerEvent]] = {"citations": Cited, "token": Piece, "done": Done}


@dataclass(frozen=True, slots=True)
class RawEvent:
    """One event as it was sent."""

    name: str
    data: bytes


class EventDecoder:
    """Turns chunks of bytes, cut anywhere, into events."""

    def __init__(self) -> None:
        self._rest = b""
        self._name = ""
        self._data: list[bytes] = []
        self._size_bytes = 0

    def feed(self, chunk: bytes) -> Iterator[RawEvent]:
        """Yield the events that `chunk` completes. Raises RagridError when one grows beyond LARGEST_EVENT_BYTES."""
        lines, self._rest = _split(self._rest + chunk)
        for line in lines:
            if line:
                self._field(line)
            elif self._data:
                yield RawEvent(self._name or "message", b"\n".join(self._data))
            if not line:
                self._name, self._data, self._size_bytes = "", [], 0
        if self._size_bytes + len(self._rest) > LARGEST_EVENT_BYTES:
            raise RagridError(f"an event is larger than {LARGEST_EVENT_BYTES} bytes; ask for fewer passages")

    def _field(self, line: bytes) -> None:
        """Take in one line; comments and fields that do not concern us are passed over."""
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._size_bytes += len(value)
        elif name == b"event":
            self._name = value.decode(errors="replace")


class AnswerStream:
    """Reads a streamed answer and knows whether it came to its end."""

    def __init__(self, call: str) -> None:
        self._call = call
        self._decoder = EventDecoder()
        self.is_done = False

    def feed(self, chunk: bytes) -> Iterator[AnswerEvent]:
        """Yield the answer's events; nothing after `Done`.

        Raises what the grid says in an `error` event, and RagridError for an event that is not what was wanted.
        """
        for raw in self._decoder.feed(chunk):
            if self.is_done:
                return
            event = self._read(raw)
            if event is None:
                continue
            self.is_done = isinstance(event, Done)
            yield event

    def finish(self) -> None:
        """Raise UnreachableError when the stream has ended before its `done` event."""
        if not self.is_done:
            raise UnreachableError(f"{self._call}: the stream ended before the answer was complete; ask again")

    def _read(self, raw: RawEvent) -> AnswerEvent | None:
        """Return the value of one event; None for a kind that a newer grid may send."""
        if raw.name == "error":
            raise refusal(self._call, _status(raw.data), "application/json", raw.data)
        kind = _KINDS.get(raw.name)
        if kind is None:
            return None
        try:
            return msgspec.json.decode(raw.data, type=kind)
        except msgspec.MsgspecError as error:
            raise RagridError(f"{self._call}: event {raw.name!r}: {error}; wanted {kind.__name__}") from error


def _split(content: bytes) -> tuple[list[bytes], bytes]:
    """Return complete lines and what remains; a final CR waits, since LF may follow in the next chunk."""
    waiting = content[-1:] if content.endswith(b"\r") else b""
    *lines, rest = _LINE_END.split(content.removesuffix(b"\r") if waiting else content)
    return lines, rest + waiting


class _Status(msgspec.Struct):
    """The status that a problem names."""

    status: int = 500


def _status(data: bytes) -> int:
    """Return the status that an `error` event names."""
    try:
        return msgspec.json.decode(data, type=_Status).status
    except msgspec.MsgspecError:
        return 500
