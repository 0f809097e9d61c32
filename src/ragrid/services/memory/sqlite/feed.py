"""The change feed, in SQLite."""

import apsw

from ragrid.services.memory.changes import Scope
from ragrid.services.memory.feed.watch import Watches
from ragrid.services.memory.protocol.feed import PAGE_BYTES, Changes, FeedEvent
from ragrid.services.memory.sqlite.connections import Connections
from ragrid.services.memory.sqlite.files import fetch

# What has expired shows no content, swept or not; nor does what has no memory any more, because it was purged.
_CHANGES = """
SELECT e.seq, e.op, e.id, e.version, e.at_us, e.actor,
  CASE WHEN m.position IS NULL OR m.expires_us <= ? THEN NULL ELSE e.doc END
FROM memory_version AS e LEFT JOIN memory AS m ON m.namespace = e.namespace AND m.id = e.id
WHERE e.namespace = ? AND e.seq > ? ORDER BY e.seq LIMIT ?
"""
_LAST_SEQ = "SELECT value FROM counter WHERE name = 'seq'"


class SqliteFeed(Connections):
    """See protocol/feed.py."""

    @property
    def watches(self) -> Watches:
        """See Feed."""
        return self.writer.watches

    async def changes(self, scope: Scope, *, since: int, now_us: int, limit: int) -> Changes:
        """See Feed."""

        def work(reader: apsw.Connection) -> Changes:
            number = self.number(reader, scope)
            with reader:  # both statements see the same moment
                last_seq: int = fetch(reader, _LAST_SEQ)[0][0]
                found = Changes((), last_seq, has_more=False)
                if number is not None:
                    found = _read(reader, (now_us, number, since, limit + 1), limit=limit, last_seq=last_seq)
            return found

        return await self.in_pool(work)


def _read(reader: apsw.Connection, parameters: tuple[int, ...], *, limit: int, last_seq: int) -> Changes:
    """Return what fits into one answer; rows are fetched one by one, so that no more is ever held."""
    events: list[FeedEvent] = []
    size_bytes = 0
    for row in reader.execute(_CHANGES, parameters):
        event = FeedEvent(*row)
        size_bytes += len(event.doc or b"")
        if len(events) == limit or (events and size_bytes > PAGE_BYTES):
            return Changes(tuple(events), last_seq, has_more=True)
        events.append(event)
    return Changes(tuple(events), last_seq, has_more=False)
