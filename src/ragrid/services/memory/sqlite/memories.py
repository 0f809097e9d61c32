"""Memories one by one and in lists, in SQLite. Point reads run on the event loop: they take 8 µs."""

import apsw

from ragrid.services.memory.changes import Change, Delete, Purge, Scope
from ragrid.services.memory.protocol.memories import Event, Filter, Page, Read, Written, past_read
from ragrid.services.memory.sqlite.connections import Connections, broken
from ragrid.services.memory.sqlite.files import fetch
from ragrid.services.memory.sqlite.queries import (
    LAST_STATE,
    READ,
    Statement,
    history_statement,
    list_statement,
    past_statement,
)
from ragrid.services.memory.sqlite.writing.memories import carry_out


class SqliteMemories(Connections):
    """See protocol/memories.py."""

    async def read(self, scope: Scope, memory_id: str, *, now_us: int) -> Read | None:
        """See Memories."""
        try:
            number = self.numbers.get(scope) or self.number(self.reader, scope)
            if number is None:
                return None
            rows = fetch(self.reader, READ, (number, memory_id, now_us))
        except apsw.Error as error:
            raise broken(error) from error
        return Read(*rows[0]) if rows else None

    async def read_past(
        self, scope: Scope, memory_id: str, *, now_us: int, version: int | None = None, as_of_us: int | None = None
    ) -> Read | None:
        """See Memories."""

        def work(reader: apsw.Connection) -> Read | None:
            number = self.number(reader, scope)
            with reader:  # both statements see the same moment
                last = [] if number is None else fetch(reader, LAST_STATE, (number, memory_id))
                if number is None or not last or has_ended(*last[0], now_us=now_us):
                    return None
                rows = fetch(reader, *past_statement(number, memory_id, version=version, as_of_us=as_of_us))
            return past_read(rows[0][0], rows[0][1], as_of_us) if rows else None

        return await self.in_pool(work)

    async def change(self, change: Change) -> Written:
        """See Memories."""
        result: Written = await self.writer.submit(
            lambda transaction: carry_out(transaction, change), makes_room=isinstance(change, Delete | Purge)
        )
        return result

    async def page(self, scope: Scope, wanted: Filter, *, now_us: int, limit: int, before: int | None = None) -> Page:
        """See Memories."""

        def statement(number: int) -> Statement:
            return list_statement(number, wanted, now_us=now_us, limit=limit + 1, before=before)

        rows = await self.rows(scope, statement)
        more = rows[limit - 1][0] if len(rows) > limit else None
        return Page(tuple(doc for _, doc in rows[:limit]), more)

    async def history(
        self, scope: Scope, memory_id: str, *, now_us: int, limit: int, before: int | None = None
    ) -> tuple[Event, ...] | None:
        """See Memories."""

        def work(reader: apsw.Connection) -> tuple[Event, ...] | None:
            number = self.number(reader, scope)
            with reader:  # both statements see the same moment
                last = [] if number is None else fetch(reader, LAST_STATE, (number, memory_id))
                if number is None or not last or has_ended(*last[0], now_us=now_us):
                    return None
                rows = fetch(reader, *history_statement(number, memory_id, limit=limit, before=before))
            return tuple(Event(*row) for row in rows)

        return await self.in_pool(work)


def has_ended(expires_us: int | None, is_erased: int, *, now_us: int) -> bool:
    """Tell whether nothing may be seen of a memory any more, be it swept or not."""
    return bool(is_erased) or (expires_us is not None and expires_us <= now_us)
