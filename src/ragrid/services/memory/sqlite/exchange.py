"""Export and import, in SQLite. An export reads in one transaction, over a connection and on a thread of its own."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import apsw

from ragrid.services.memory.changes import Scope
from ragrid.services.memory.errors import StoreBusyError
from ragrid.services.memory.exchange.deciding import Verdict
from ragrid.services.memory.exchange.lines import Copy, memory_line, namespace_lines, session_line
from ragrid.services.memory.protocol.exchange import CHUNK_BYTES, Exported
from ragrid.services.memory.sqlite.connections import Connections, broken
from ragrid.services.memory.sqlite.files import open_reader
from ragrid.services.memory.sqlite.queries import namespace_of
from ragrid.services.memory.sqlite.writing import exchange as writing
from ragrid.services.memory.working_state import StoredState, rendered_state

#: Exports at once: each keeps the log from being cut back while it reads.
EXPORTS = 4

_NAMESPACES = """
SELECT name, id, settings, rows, size_bytes, version, created_us, updated_us, updated_by FROM namespace
WHERE tenant = ? AND is_gone = 0 AND (? IS NULL OR name = ?) ORDER BY name
"""
#: The model whose vectors callers bring; those of an embedder are made anew.
_GIVEN = "SELECT number, name FROM embedding_model WHERE state = 'given'"
_VECTOR = "SELECT vector FROM memory_vector WHERE position = ? AND model = ?"
_MEMORIES = """
SELECT id, position, version FROM memory
WHERE namespace = ? AND is_erased = 0 AND (expires_us IS NULL OR expires_us > ?) ORDER BY position
"""
# Before the last end that erased contents, nothing is left of a memory.
_VERSIONS = """
SELECT op, version, at_us, actor, doc FROM memory_version
WHERE namespace = ?1 AND id = ?2 AND seq > (
  SELECT COALESCE(max(seq), 0) FROM memory_event WHERE namespace = ?1 AND id = ?2 AND op IN ('expire', 'purge'))
ORDER BY seq
"""
_SESSIONS = "SELECT number, id FROM session WHERE namespace = ? AND is_live = 1 ORDER BY id"
_MESSAGES = """
SELECT doc FROM session_message
WHERE namespace = ? AND session = ? AND (expires_us IS NULL OR expires_us > ?) ORDER BY position
"""
_STATE = """
SELECT state_version, state, state_ttl_s, state_expires_us, state_updated_us, state_updated_by FROM session
WHERE namespace = ? AND number = ? AND state IS NOT NULL AND (state_expires_us IS NULL OR state_expires_us > ?)
"""


class SqliteExchange(Connections):
    """See protocol/exchange.py."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._exports = 0

    async def export(self, tenant: str, namespace: str | None, *, now_us: int) -> AsyncGenerator[Exported, None]:
        """See Exchange."""
        if self._exports >= EXPORTS:
            raise StoreBusyError(f"{EXPORTS} exports are under way, and no more are made at once; try again later")
        self._exports += 1
        thread = ThreadPoolExecutor(1, thread_name_prefix="memory-export")
        run = asyncio.get_running_loop().run_in_executor
        reader: apsw.Connection | None = None
        try:
            reader = await run(thread, open_reader, self.path)
            lines = _lines(reader, tenant, namespace, now_us)
            while (chunk := await run(thread, _chunk, lines)) is not None:
                yield chunk
        except apsw.Error as error:
            raise broken(error) from error
        finally:
            self._exports -= 1
            if reader is not None:
                thread.submit(reader.close, True)  # after what that thread may still be at
            thread.shutdown(wait=False)

    async def take(self, copies: Sequence[Copy], *, now_us: int, is_atomic: bool) -> tuple[Verdict, ...]:
        """See Exchange."""
        verdicts: tuple[Verdict, ...] = await self.writer.submit(
            lambda transaction: writing.take(transaction, copies, now_us=now_us, is_atomic=is_atomic)
        )
        return verdicts


def _chunk(lines: Iterator[bytes]) -> Exported | None:
    """Return the next lines, about CHUNK_BYTES of them; None after the last."""
    found: list[bytes] = []
    size_bytes = 0
    for line in lines:
        found.append(line)
        size_bytes += len(line)
        if size_bytes >= CHUNK_BYTES:
            break
    return Exported(len(found), b"".join(found)) if found else None


def _brought(reader: apsw.Connection, given: Sequence[Any] | None, position: int) -> tuple[str, bytes] | None:
    if given is None:
        return None
    number, name = given
    rows: list[Any] = reader.execute(_VECTOR, (position, number)).fetchall()
    return (name, rows[0][0]) if rows else None


def _lines(reader: apsw.Connection, tenant: str, namespace: str | None, now_us: int) -> Iterator[bytes]:
    reader.execute("BEGIN")
    given = next(iter(reader.execute(_GIVEN).fetchall()), None)
    for row in reader.execute(_NAMESPACES, (tenant, namespace, namespace)):
        space = namespace_of(row)
        number, scope = space.position, Scope(tenant, space.name)
        yield from namespace_lines(space)
        for memory_id, position, current in reader.execute(_MEMORIES, (number, now_us)):
            for op, version, at_us, actor, doc in reader.execute(_VERSIONS, (number, memory_id)):
                yield memory_line(
                    scope,
                    memory_id,
                    op=op,
                    version=version,
                    at_us=at_us,
                    actor=actor,
                    doc=doc or b"",
                    vector=_brought(reader, given, position) if version == current else None,
                )
        for session, session_id in reader.execute(_SESSIONS, (number,)):
            for (doc,) in reader.execute(_MESSAGES, (number, session, now_us)):
                yield session_line("message", doc)
            for state in reader.execute(_STATE, (number, session, now_us)):
                yield session_line("state", rendered_state(StoredState(*state), scope, session_id))
