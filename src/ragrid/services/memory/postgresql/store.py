"""`PostgresStore`: the store of several replicas on one database."""

from ragrid.services.memory.postgresql.backups import PostgresBackups
from ragrid.services.memory.postgresql.batch import PostgresBatches
from ragrid.services.memory.postgresql.embeddings import PostgresEmbeddings
from ragrid.services.memory.postgresql.exchange import PostgresExchange
from ragrid.services.memory.postgresql.failures import FAILURES, refusal_of
from ragrid.services.memory.postgresql.feed import PostgresFeed
from ragrid.services.memory.postgresql.forgetting import PostgresForgetting
from ragrid.services.memory.postgresql.jobs import PostgresJobs
from ragrid.services.memory.postgresql.memories import PostgresMemories
from ragrid.services.memory.postgresql.migrate import prepare
from ragrid.services.memory.postgresql.namespaces import PostgresNamespaces
from ragrid.services.memory.postgresql.nearest import FROM_ROWS
from ragrid.services.memory.postgresql.pool import close, connect
from ragrid.services.memory.postgresql.search import PostgresSearch
from ragrid.services.memory.postgresql.sessions import PostgresSessions
from ragrid.services.memory.postgresql.upkeep import PostgresUpkeep
from ragrid.services.memory.postgresql.vector_cache import VectorCache

#: Vectors that are kept in memory for searches, bytes.
VECTOR_CACHE_BYTES = 512 * 1024 * 1024


class PostgresStore(
    PostgresMemories,
    PostgresBackups,
    PostgresBatches,
    PostgresSearch,
    PostgresSessions,
    PostgresFeed,
    PostgresForgetting,
    PostgresJobs,
    PostgresNamespaces,
    PostgresEmbeddings,
    PostgresExchange,
    PostgresUpkeep,
):
    """A MemoryStore in the schema `ragrid_memory` of a PostgreSQL database. Make it with `open`; one event loop may use
    it. Any number of processes may use one database: whatever one answered, all others see.
    """

    @classmethod
    async def open(
        cls, dsn: str, *, vector_cache_bytes: int = VECTOR_CACHE_BYTES, index_from_rows: int | None = FROM_ROWS
    ) -> "PostgresStore":
        """Check and migrate the database at `dsn`, and return the store in it.

        `vector_cache_bytes` bounds the vectors that are kept in memory for searches. Where the server has pgvector,
        the vectors of namespaces from `index_from_rows` memories on are indexed there; with None, no index is used.

        The role must own the database or may create schemas in it, and must be bound by row-level security. Raises
        StateError when it is not, when the server is too old, and when the tables are a newer release's, and
        StoreBrokenError when the server does not answer.
        """
        try:
            connection = await connect(dsn)
            try:
                await prepare(connection)
            finally:
                await close(connection)
        except FAILURES as error:
            raise refusal_of(error) from error
        store = cls(dsn, index_from_rows=index_from_rows)
        store.vector_cache = VectorCache(vector_cache_bytes)
        await store.nearest.open()
        return store
