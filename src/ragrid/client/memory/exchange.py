"""The change feed, exports and imports: what is sent and what comes back (pure)."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import msgspec

from ragrid.client.calls import READ_TIMEOUT_S, Call
from ragrid.client.memory.calls import PREFIX, ask
from ragrid.client.memory.models import Memory
from ragrid.errors import RagridError

NDJSON = "application/x-ndjson"
#: Changes in one page, and how long a page is waited for, seconds.
PAGE = 500
WAIT_S = 25
#: How much one request of an import carries: the service takes 64 MiB, and a piece that got lost is sent again.
PIECE_BYTES = 8 * 1024 * 1024
#: A piece may wait for its turn among other writers, seconds.
IMPORT_TIMEOUT_S = 300.0


class MemoryChange(msgspec.Struct, frozen=True, kw_only=True):
    """One version of one memory, under the `seq` that it got in the store."""

    seq: int
    op: str
    id: str
    version: int
    at: datetime
    actor: str
    memory: Memory | None = None


class ChangesPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some changes, oldest first."""

    changes: tuple[MemoryChange, ...]
    next_since: int
    has_more: bool = False


class LineFault(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with one line of an import, counted from 1."""

    line: int
    pointer: str
    detail: str


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the lines of an import; `faults` has the first ones.

    `is_complete`: the export that was read had its last line, so nothing of it was cut off.
    """

    lines: int = 0
    imported: int = 0
    unchanged: int = 0
    faulty: int = 0
    is_complete: bool = False
    faults: tuple[LineFault, ...] = ()


class _Kind(msgspec.Struct, frozen=True):
    """As much of a line as tells what it is."""

    kind: str = ""
    lines: int | None = None


def changes(namespace: str, since: int, *, wait: bool) -> Call[ChangesPage]:
    """Ask for the changes after `since`; waiting, the answer comes with the next one or after WAIT_S."""
    parameters = {"since": str(since), "limit": str(PAGE), "wait_seconds": str(WAIT_S if wait else 0)}
    return ask(
        f"{PREFIX}/changes",
        ChangesPage,
        namespace,
        parameters=parameters,
        read_timeout_s=READ_TIMEOUT_S + (WAIT_S if wait else 0),
    )


def export(namespace: str, *, everything: bool) -> Call[None]:
    """Ask for an export, which is read line by line."""
    parameters = {"namespaces": "all"} if everything else {}
    return ask(f"{PREFIX}/export", type(None), namespace, parameters=parameters, headers={"accept": NDJSON})


def take(piece: bytes, namespace: str | None, *, atomic: bool) -> Call[Imported]:
    """Hand in some lines; what is there already stays as it is, so that a piece may be sent again.

    With a namespace, everything goes there; without one, each line goes where it says.
    """
    return Call(
        method="POST",
        path=f"{PREFIX}/import",
        answer=Imported,
        parameters={"atomic": "true"} if atomic else {},
        headers={"content-type": NDJSON, **({"memory-namespace": namespace} if namespace is not None else {})},
        content=piece,
        repeat="always",
        read_timeout_s=IMPORT_TIMEOUT_S,
    )


def pieces(lines: Iterable[bytes], limit_bytes: int = PIECE_BYTES) -> Iterator[tuple[int, bytes]]:
    """Yield lines in pieces of about `limit_bytes`, each with how many lines came before it."""
    waiting: list[bytes] = []
    size_bytes = before = 0
    for line in lines:
        waiting.append(line.rstrip(b"\n"))
        size_bytes += len(line) + 1
        if size_bytes >= limit_bytes:
            yield before, b"\n".join(waiting) + b"\n"
            before += len(waiting)
            waiting, size_bytes = [], 0
    if waiting:
        yield before, b"\n".join(waiting) + b"\n"


class Tally:
    """Adds up what became of the pieces of one import."""

    def __init__(self) -> None:
        self._sum = Imported()

    def add(self, before: int, piece: bytes, done: Imported) -> None:
        """Count one piece, before which there were `before` lines."""
        faults = tuple(msgspec.structs.replace(one, line=one.line + before) for one in done.faults)
        total = self._sum
        self._sum = Imported(
            lines=total.lines + done.lines,
            imported=total.imported + done.imported,
            unchanged=total.unchanged + done.unchanged,
            faulty=total.faulty + done.faulty,
            is_complete=_end_of(piece) == total.lines + done.lines,
            faults=total.faults + faults,
        )

    def total(self) -> Imported:
        """Return the sum."""
        return self._sum


class Whole:
    """Watches the lines of an export go by, and tells whether the last one says that these were all."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._count = 0
        self._last = b""

    def saw(self, line: bytes) -> bytes:
        """Return the line."""
        self._count += 1
        self._last = line
        return line

    def check(self) -> None:
        """Raise RagridError when the export was cut off."""
        # The first and the last line are not counted by the last.
        if _end_of(self._last) != self._count - 2:
            raise RagridError(f"{self._name}: the export was cut off after {self._count} lines; start it again")


def _end_of(text: bytes) -> int | None:
    """Return the count in the last line of `text`, None when that is no end line."""
    last = text.rstrip(b"\n").rpartition(b"\n")[2]
    try:
        line: Any = msgspec.json.decode(last, type=_Kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return line.lines if line.kind == "end" else None
