"""Export and import, in SQLite. An export reads in one transaction, over a connection and on a thread of its own."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import apsw

from ragrid.services.memory.changes import Scope
from ragrid.services.memory.embedding.sources import carried_model, models_of
from ragrid.services.memory.exchange.deciding import Verdict
from ragrid.services.memory.exchange.exporting import Chunk, check_room
from ragrid.services.memory.exchange.lines import Copy, Step, memory_line, namespace_lines, session_line
from ragrid.services.memory.protocol.exchange import Exported
from ragrid.services.memory.sqlite.connections import Connections, broken
from ragrid.services.memory.sqlite.files import open_reader
from ragrid.services.memory.sqlite.queries import NAMESPACE_COLUMNS, namespace_of
from ragrid.services.memory.sqlite.vectors import MODELS
from ragrid.services.memory.sqlite.writing import exchange as writing
from ragrid.services.memory.working_state import StoredState, rendered_state

_NAMESPACES = f"""
SELECT {NAMESPACE_COLUMNS} FROM namespace
WHERE tenant = ? AND is_gone = 0 AND (? IS NULL OR name = ?) ORDER BY name
"""  # noqa: S608 - our own words
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
        check_room(self._exports)
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
    """Return the next lines, None after the last."""
    chunk = Chunk()
    for line in lines:
        if chunk.add(line):
            break
    return chunk.taken()


def _brought(reader: apsw.Connection, carried: tuple[int, str] | None, position: int) -> tuple[str, bytes] | None:
    if carried is None:
        return None
    number, name = carried
    rows: list[Any] = reader.execute(_VECTOR, (position, number)).fetchall()
    return (name, rows[0][0]) if rows else None


def _lines(reader: apsw.Connection, tenant: str, namespace: str | None, now_us: int) -> Iterator[bytes]:
    reader.execute("BEGIN")
    models = models_of(reader.execute(MODELS).fetchall())
    for row in reader.execute(_NAMESPACES, (tenant, namespace, namespace)):
        space = namespace_of(row)
        number, scope = space.position, Scope(tenant, space.name)
        carried = carried_model(space.room, models)
        yield from namespace_lines(space)
        for memory_id, position, current in reader.execute(_MEMORIES, (number, now_us)):
            for stored in reader.execute(_VERSIONS, (number, memory_id)):
                step = Step(*stored)
                vector = _brought(reader, carried, position) if step.version == current else None
                yield memory_line(scope, memory_id, step, vector)
        for session, session_id in reader.execute(_SESSIONS, (number,)):
            for (doc,) in reader.execute(_MESSAGES, (number, session, now_us)):
                yield session_line("message", doc)
            for state in reader.execute(_STATE, (number, session, now_us)):
                yield session_line("state", rendered_state(StoredState(*state), scope, session_id))
