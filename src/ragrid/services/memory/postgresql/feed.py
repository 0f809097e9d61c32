"""The change feed, in PostgreSQL."""

from ragrid.services.memory.changes import Scope
from ragrid.services.memory.feed.watch import Watches
from ragrid.services.memory.postgresql.connections import Connections
from ragrid.services.memory.protocol.feed import PAGE_BYTES, Changes, FeedEvent

# One statement sees one moment. What has expired shows no content, swept or not; what is too much for one answer is
# counted, and not sent.
_CHANGES = f"""
SELECT t.last_seq, p.found, p.seq, p.op, p.id, p.version, p.at_us, p.actor, p.doc
FROM (SELECT coalesce((SELECT seq FROM tenant WHERE tenant = $1), 0) AS last_seq) AS t
LEFT JOIN LATERAL (
  SELECT *, row_number() OVER next AS number, count(*) OVER () AS found,
    sum(coalesce(octet_length(doc), 0)) OVER next AS total_bytes
  FROM (
    SELECT e.seq, e.op, e.id, e.version, e.at_us, e.actor,
      CASE WHEN m.id IS NULL OR m.expires_us <= $4 THEN NULL ELSE e.doc END AS doc
    FROM memory_event AS e
      LEFT JOIN memory AS m ON m.tenant = $1 AND m.namespace = e.namespace AND m.id = e.id
    WHERE e.tenant = $1 AND e.namespace = $2 AND e.seq > $3 ORDER BY e.seq LIMIT $5 + 1
  ) AS e WINDOW next AS (ORDER BY seq)
) AS p ON p.number <= $5 AND (p.number = 1 OR p.total_bytes <= {PAGE_BYTES})
ORDER BY p.seq
"""  # noqa: S608 - our own words


class PostgresFeed(Connections):
    """See protocol/feed.py. `seq` counts the changes of one tenant: nobody learns how much the others write."""

    @property
    def watches(self) -> Watches:
        """See Feed."""
        return self.writer.watches

    async def changes(self, scope: Scope, *, since: int, now_us: int, limit: int) -> Changes:
        """See Feed."""
        rows = await self.rows(scope.tenant, _CHANGES, scope.tenant, scope.namespace, since, now_us, limit)
        events = tuple(FeedEvent(*row[2:]) for row in rows if row["seq"] is not None)
        return Changes(events, rows[0]["last_seq"], has_more=bool(events) and rows[0]["found"] > len(events))
