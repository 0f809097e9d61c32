"""Export and import: all that a tenant has as lines of JSON, sent and taken piece by piece."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp

from ragrid.identity.claims import Claims
from ragrid.identity.confinement import is_within
from ragrid.services.memory.api.answers import Answer
from ragrid.services.memory.api.confinement import namespace_within
from ragrid.services.memory.api.headers import namespace_of, require_media_type
from ragrid.services.memory.api.operation import (
    NAMESPACE_HEADER,
    NAMESPACE_PROBLEMS,
    WRITE_PROBLEMS,
    Body,
    Operation,
    Parameter,
    Success,
)
from ragrid.services.memory.api.parameters import NAMESPACE, parameters_of
from ragrid.services.memory.api.parts import Parts
from ragrid.services.memory.api.streaming import Streamed
from ragrid.services.memory.errors import InvalidBodyError
from ragrid.services.memory.exchange.deciding import is_of_one_memory
from ragrid.services.memory.exchange.lines import Copy, EndLine, HeaderLine, end_line, header_line, parse_line
from ragrid.services.memory.exchange.ndjson import LINE_BYTES, LineSplitter
from ragrid.services.memory.protocol.exchange import Exported
from ragrid.web.auth import claims_of
from ragrid.web.problem import Problem

NDJSON_TYPE = "application/x-ndjson"
#: What one import may send. Longer files are cut at line ends and sent one after the other.
IMPORT_BYTES = 64 * 1024 * 1024
#: What an atomic import may hold: it is one commit, and everything else waits for that.
ATOMIC_BYTES = 16 * 1024 * 1024
ATOMIC_LINES = 10_000
#: Lines, and bytes of them, that one commit takes over otherwise; the versions of one memory are kept together ...
CHUNK_LINES = 200
CHUNK_BYTES = 1024 * 1024
#: ... until they are so much by themselves.
GROUP_BYTES = 8 * 1024 * 1024
#: Faults that an answer lists; it counts them all.
FAULTS_SHOWN = 100

_ALL = Parameter(
    name="namespaces",
    place="query",
    schema=Annotated[str, Meta(pattern="^all$")],
    summary="`all`: every namespace of the tenant, instead of the one in `Memory-Namespace`.",
)
_TARGET = Parameter(
    name=NAMESPACE_HEADER,
    place="header",
    schema=NAMESPACE.schema,
    summary="Everything goes there, whatever the lines say; without it, each line goes where it says.",
)
_ATOMIC = Parameter(
    name="atomic",
    place="query",
    schema=bool,
    summary=f"`true`: nothing is written when any line has a fault; at most {ATOMIC_LINES} lines and 16 MiB.",
)

_encode = msgspec.json.Encoder().encode


class _Placed(msgspec.Struct):
    """Where a line belongs."""

    namespace: str


_place_of = msgspec.json.Decoder(_Placed).decode


class LineFault(msgspec.Struct, frozen=True):
    """What is wrong with a line, which is counted from 1; `pointer` leads to the member."""

    line: int
    pointer: str
    detail: str


class Imported(msgspec.Struct, kw_only=True):
    """What became of the lines of an import. `faults` are the first ones; `is_complete`: the end line was there."""

    lines: int = 0
    imported: int = 0
    unchanged: int = 0
    faulty: int = 0
    is_complete: bool = False
    faults: list[LineFault] = []


class ExchangeApi:
    """The operations of export and import."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._store = parts.store

    def operations(self) -> tuple[Operation, ...]:
        """Return each operation."""
        return (
            Operation(
                method="GET",
                path="/export",
                id="exportMemories",
                summary="Sends all memories with their histories, and all sessions, as they are at one moment.",
                permission="memory:read",
                handler=self._export,
                parameters=(NAMESPACE, _ALL),
                successes=(Success(status=200, summary="One line each.", schema=str, media_type=NDJSON_TYPE),),
                problems=(
                    *NAMESPACE_PROBLEMS,
                    "unknown-parameter",
                    "repeated-parameter",
                    "invalid-parameter",
                    "overloaded",
                ),
            ),
            Operation(
                method="POST",
                path="/import",
                id="importMemories",
                summary="Takes over the lines of an export; what is here already, by id and version, stays as it is.",
                permission="memory:admin",
                handler=self._import,
                parameters=(_TARGET, _ATOMIC),
                body=Body(schema=str, media_type=NDJSON_TYPE, limit_bytes=IMPORT_BYTES),
                successes=(Success(status=200, summary="What became of the lines.", schema=Imported),),
                problems=(
                    *NAMESPACE_PROBLEMS,
                    *WRITE_PROBLEMS,
                    "unknown-parameter",
                    "repeated-parameter",
                    "invalid-parameter",
                    "unsupported-media-type",
                    "body-too-large",
                    "import-refused",
                ),
            ),
        )

    async def _export(self, request: Request) -> ASGIApp:
        given = parameters_of(request, ("namespaces",))
        if given.get("namespaces", "all") != "all":
            detail = f"parameter 'namespaces': got {given['namespaces'][:20]!r}, wanted 'all'; to export one, name it "
            raise Problem(400, "invalid-parameter", detail + "in the header Memory-Namespace")
        claims = claims_of(request)
        namespace = None if "namespaces" in given else namespace_within(claims, namespace_of(request))
        if request.method == "HEAD":
            return Answer(200)
        export = self._store.export(claims.tenant, namespace, now_us=self._parts.now_us())
        return Streamed(_whole(_within(export, claims.memory_namespaces)), media_type=NDJSON_TYPE)

    async def _import(self, request: Request) -> Answer:
        require_media_type(request, NDJSON_TYPE)
        atomic = parameters_of(request, ("atomic",)).get("atomic", "false")
        if atomic not in {"true", "false"}:
            raise Problem(400, "invalid-parameter", f"parameter 'atomic': got {atomic[:20]!r}, wanted true or false")
        claims = claims_of(request)
        namespace = namespace_of(request)
        if namespace is not None:
            namespace_within(claims, namespace)
        taking = _Import(self._parts, claims, namespace, is_atomic=atomic == "true")
        splitter = LineSplitter()
        async for chunk in _body(request, ATOMIC_BYTES if atomic == "true" else IMPORT_BYTES):
            for line in splitter.feed(chunk):
                await taking.add(line)
        for line in splitter.end():
            await taking.add(line)
        return Answer(200, _encode(await taking.finish()))


class _Import:
    """One import under way: lines in, counts out."""

    def __init__(self, parts: Parts, claims: Claims, namespace: str | None, *, is_atomic: bool) -> None:
        self._parts = parts
        self._claims = claims
        self._namespace = namespace
        self._is_atomic = is_atomic
        self._waiting: list[tuple[int, Copy]] = []
        self._waiting_bytes = 0
        self._number = 0
        self._seen = Imported()

    async def add(self, text: bytes | None) -> None:
        """Take one line in; None is one that was too long. What waits is written whenever it is enough."""
        self._number += 1
        if text == b"":
            return
        try:
            line = self._parsed(text)
        except InvalidBodyError as error:
            self._seen.lines += 1
            self._note(self._number, error.faults)
            return
        if isinstance(line, HeaderLine):
            return
        if isinstance(line, EndLine):
            self._seen.is_complete = line.lines == self._seen.lines
            return
        self._seen.lines += 1
        if not self._is_atomic and self._is_enough(line):
            await self._write()
        self._waiting.append((self._number, line))
        self._waiting_bytes += len(text or b"")
        if self._is_atomic and len(self._waiting) > ATOMIC_LINES:
            detail = f"more than {ATOMIC_LINES} lines; an atomic import is one commit: send less, or without `atomic`"
            raise Problem(413, "body-too-large", detail, members={"limit_lines": ATOMIC_LINES})

    def _is_enough(self, following: Copy) -> bool:
        """Tell whether to write what waits before `following` joins it."""
        if self._waiting_bytes >= GROUP_BYTES:
            return True
        if len(self._waiting) < CHUNK_LINES and self._waiting_bytes < CHUNK_BYTES:
            return False
        # A sweep between two versions of a memory would end what the second goes on with.
        return not is_of_one_memory(self._waiting[-1][1], following)

    def _parsed(self, text: bytes | None) -> Copy | HeaderLine | EndLine:
        if text is None:
            raise InvalidBodyError([("", f"longer than {LINE_BYTES} bytes")])
        line = parse_line(text, tenant=self._claims.tenant, namespace=self._namespace)
        if not isinstance(line, HeaderLine | EndLine) and not is_within(
            line.scope.namespace, self._claims.memory_namespaces
        ):
            raise InvalidBodyError([("/namespace", "outside the namespaces that the token is for")])
        return line

    async def finish(self) -> Imported:
        """Write what waits and return what became of everything. Raises a 422 Problem when nothing may be written."""
        if not self._is_atomic or not self._seen.faulty:
            await self._write()
        if self._is_atomic and self._seen.faulty:
            errors = [{"pointer": one.pointer, "detail": f"line {one.line}: {one.detail}"} for one in self._seen.faults]
            detail = f"{self._seen.faulty} of {self._seen.lines} lines have faults; nothing was written"
            raise Problem(422, "import-refused", detail, errors=errors, members={"faulty": self._seen.faulty})
        return self._seen

    async def _write(self) -> None:
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if not waiting:
            return
        copies = [copy for _, copy in waiting]
        now_us = self._parts.now_us()
        verdicts = await self._parts.store.take(copies, now_us=now_us, is_atomic=self._is_atomic)
        for (number, _), verdict in zip(waiting, verdicts, strict=True):
            if verdict.faults:
                self._note(number, verdict.faults)
            elif verdict.is_new:
                self._seen.imported += 1
            else:
                self._seen.unchanged += 1

    def _note(self, number: int, faults: tuple[tuple[str, str], ...]) -> None:
        self._seen.faulty += 1
        room = FAULTS_SHOWN - len(self._seen.faults)
        self._seen.faults += [LineFault(number, pointer, detail) for pointer, detail in faults[:room]]


async def _within(
    export: AsyncGenerator[Exported, None], patterns: Sequence[str] | None
) -> AsyncGenerator[Exported, None]:
    """Yield the lines of the namespaces that the caller may see."""
    async with contextlib.aclosing(export):
        async for chunk in export:
            if patterns is None:
                yield chunk
                continue
            lines = chunk.text.splitlines(keepends=True)
            seen = [line for line in lines if is_within(_place_of(line).namespace, patterns)]
            if seen:
                yield Exported(len(seen), b"".join(seen))


async def _whole(export: AsyncGenerator[Exported, None]) -> AsyncGenerator[bytes, None]:
    """Yield an export between its first and its last line; without the latter nobody takes it for whole."""
    lines = 0
    async with contextlib.aclosing(export):
        opening = header_line()
        async for chunk in export:
            lines += chunk.lines
            yield opening + chunk.text
            opening = b""
    yield opening + end_line(lines)


async def _body(request: Request, limit_bytes: int) -> AsyncIterator[bytes]:
    """Yield the body as it comes. Raises a 413 Problem as soon as more than `limit_bytes` are announced or arrive."""
    announced = request.headers.get("content-length", "0")
    size_bytes = 0
    too_large = Problem(
        413,
        "body-too-large",
        f"the body is larger than {limit_bytes} bytes; cut it at a line end and send the parts one after the other",
        members={"limit_bytes": limit_bytes},
    )
    if announced.isdecimal() and int(announced) > limit_bytes:
        raise too_large
    has_more = True
    while has_more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size_bytes += len(chunk)
        if size_bytes > limit_bytes:
            raise too_large
        yield chunk
        has_more = message.get("more_body", False)
