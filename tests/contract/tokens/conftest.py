"""The same tests over every kind of token store, each test with an empty one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ragrid.services.tokens.postgresql_schema import SCHEMA
from support.postgresql import Cluster
from support.token_desk import Desk


@pytest.fixture(scope="session")
def token_database(postgresql_cluster: Cluster) -> str:
    """The name of the database that these tests share; each begins without the service's tables."""
    return postgresql_cluster.create_database()


@pytest.fixture
def url_file(tmp_path: Path, postgresql_cluster: Cluster, token_database: str) -> Path:
    """A file with the address of a PostgreSQL database that has no tables of ours."""
    postgresql_cluster.sql(f"SET client_min_messages = warning; DROP SCHEMA IF EXISTS {SCHEMA} CASCADE", token_database)
    file = tmp_path / "database-url"
    file.write_text(postgresql_cluster.dsn(token_database))
    return file


@pytest.fixture(params=["sqlite", "postgresql"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    """An issuer on an empty store, with a clock that stands still."""
    one = Desk(tmp_path, request.getfixturevalue("url_file") if request.param == "postgresql" else None)
    try:
        one.start()
        yield one
    finally:
        one.stop()
