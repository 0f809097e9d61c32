"""`PostgresStore`: the store of several replicas on one database."""

from ragrid.services.memory.postgresql.batch import PostgresBatches
from ragrid.services.memory.postgresql.failures import FAILURES, refusal_of
from ragrid.services.memory.postgresql.feed import PostgresFeed
from ragrid.services.memory.postgresql.jobs import PostgresJobs
from ragrid.services.memory.postgresql.memories import PostgresMemories
from ragrid.services.memory.postgresql.migrate import prepare
from ragrid.services.memory.postgresql.pool import close, connect
from ragrid.services.memory.postgresql.search import PostgresSearch
from ragrid.services.memory.postgresql.sessions import PostgresSessions
from ragrid.services.memory.postgresql.upkeep import PostgresUpkeep


class PostgresStore(
    PostgresMemories,
    PostgresBatches,
    PostgresSearch,
    PostgresSessions,
    PostgresFeed,
    PostgresJobs,
    PostgresUpkeep,
):
    """A MemoryStore in the schema `ragrid_memory` of a PostgreSQL database. Make it with `open`; one event loop may use
    it. Any number of processes may use one database: whatever one answered, all others see.
    """

    @classmethod
    async def open(cls, dsn: str) -> "PostgresStore":
        """Check and migrate the database at `dsn`, and return the store in it.

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
        return cls(dsn)
