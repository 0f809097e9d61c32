"""Search over the word index."""

from ragrid.services.memory.changes import Scope
from ragrid.services.memory.metrics import SEARCH_SECONDS
from ragrid.services.memory.postgresql.connections import Connections
from ragrid.services.memory.postgresql.queries import search_statement
from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.protocol.search import Hit, QueryVector, hits_of
from ragrid.services.memory.ranking.fusion import PLAIN, Ranking


class PostgresSearch(Connections):
    """See protocol/search.py."""

    async def search(
        self,
        scope: Scope,
        query: tuple[str, ...],
        wanted: Filter,
        *,
        now_us: int,
        limit: int,
        vector: QueryVector | None = None,  # noqa: ARG002 - words alone, so far
        ranking: Ranking = PLAIN,  # noqa: ARG002 - words alone, so far
    ) -> tuple[Hit, ...]:
        """See Search."""
        if not query:
            return ()
        sql, parameters = search_statement(scope, query, wanted, now_us=now_us, limit=limit)
        with SEARCH_SECONDS.labels("lexical").time():
            rows = await self.rows(scope.tenant, sql, *parameters)
        return hits_of([(score, doc) for score, doc in rows])
