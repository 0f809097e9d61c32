"""Search over the full-text index."""

from ragrid.services.memory.changes import Scope
from ragrid.services.memory.metrics import SEARCH_SECONDS
from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.protocol.search import Hit, hits_of
from ragrid.services.memory.sqlite.connections import Connections
from ragrid.services.memory.sqlite.queries import Statement, search_statement


class SqliteSearch(Connections):
    """See protocol/search.py."""

    async def search(
        self, scope: Scope, query: tuple[str, ...], wanted: Filter, *, now_us: int, limit: int
    ) -> tuple[Hit, ...]:
        """See Search."""
        if not query:
            return ()

        def statement(number: int) -> Statement:
            return search_statement(number, query, wanted, now_us=now_us, limit=limit)

        with SEARCH_SECONDS.labels("lexical").time():
            rows = await self.rows(scope, statement)
        return hits_of([(-score, doc) for score, doc in rows])
