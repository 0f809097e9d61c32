"""A database for memory stores, as an operator would make it: owned by a role that row-level security binds.

One for the whole session: making one takes a tenth of a second, emptying it a hundredth. A test that needs a database
before its first migration takes `memory_database_new`.
"""

from collections.abc import Iterator

import pytest

from support.postgresql import Cluster

ROLE = "memory"

#: The superuser sees every tenant's rows; the owner would see nobody's.
_EMPTY = """
DO $$ DECLARE name text; BEGIN
  FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'ragrid_memory' AND tablename <> 'migration' LOOP
    EXECUTE 'DELETE FROM ragrid_memory.' || quote_ident(name);
  END LOOP;
END $$
"""


@pytest.fixture(scope="session")
def memory_role(postgresql_cluster: Cluster) -> str:
    """The role that memory stores connect as."""
    # Each folder that imports this fixture has its own of it, in one cluster.
    if ROLE not in postgresql_cluster.sql("SELECT rolname FROM pg_roles").split():
        postgresql_cluster.sql(f"CREATE ROLE {ROLE} LOGIN")
    return ROLE


@pytest.fixture(scope="session")
def memory_database_of_session(postgresql_cluster: Cluster, memory_role: str) -> str:
    """The name of the database that tests use one after the other."""
    return _made(postgresql_cluster, memory_role)


@pytest.fixture
def memory_database(postgresql_cluster: Cluster, memory_database_of_session: str) -> Iterator[str]:
    """The address (DSN) of a database for memory stores, without any memory in it."""
    yield postgresql_cluster.dsn(memory_database_of_session, user=ROLE)
    postgresql_cluster.sql(_EMPTY, memory_database_of_session)


@pytest.fixture(scope="session")
def pgvector_database_of_session(pgvector_cluster: Cluster) -> str:
    """The name of the database with pgvector that tests use one after the other."""
    return pgvector_database_made(pgvector_cluster)


@pytest.fixture
def pgvector_database(pgvector_cluster: Cluster, pgvector_database_of_session: str) -> Iterator[str]:
    """The address (DSN) of a database with pgvector for memory stores, without any memory in it."""
    yield pgvector_cluster.dsn(pgvector_database_of_session, user=ROLE)
    pgvector_cluster.sql(_EMPTY, pgvector_database_of_session)


def pgvector_database_made(cluster: Cluster) -> str:
    """Make a database with pgvector, as its superuser would for an ordinary role; return its name."""
    if ROLE not in cluster.sql("SELECT rolname FROM pg_roles").split():
        cluster.sql(f"CREATE ROLE {ROLE} LOGIN")
    name = _made(cluster, ROLE)
    cluster.sql("CREATE EXTENSION vector", name)
    return name


@pytest.fixture
def memory_database_new(postgresql_cluster: Cluster, memory_role: str) -> Iterator[str]:
    """The address (DSN) of a database that no store has seen."""
    name = _made(postgresql_cluster, memory_role)
    yield postgresql_cluster.dsn(name, user=memory_role)
    postgresql_cluster.drop_database(name)


def _made(cluster: Cluster, role: str) -> str:
    name = cluster.create_database()
    cluster.sql(f"ALTER DATABASE {name} OWNER TO {role}")
    return name
