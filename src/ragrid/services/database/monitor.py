"""What the server says of itself: real queries, for readiness and for Prometheus."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ragrid.errors import RagridError, UnreachableError
from ragrid.monitoring import names
from ragrid.services.database.configuration import SUPERUSER

#: A question that takes longer has failed, seconds.
ANSWER_S = 2.0
FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, EOFError)
_DATABASES = """
SELECT datname, numbackends, xact_commit, xact_rollback, deadlocks, temp_bytes, blks_read, blks_hit,
       pg_database_size(datname) AS size_bytes
  FROM pg_stat_database WHERE datname = ANY($1) ORDER BY datname
"""
_OLDEST = """
SELECT coalesce(max(extract(epoch FROM now() - xact_start)), 0)::float FROM pg_stat_activity
 WHERE pid <> pg_backend_pid()
"""
#: Column -> metric, help. Counters end in `_total`.
FIGURES: Mapping[str, tuple[str, str]] = {
    "numbackends": (names.DATABASE_CONNECTIONS, "Open connections."),
    "size_bytes": ("postgresql_database_size_bytes", "Size on disk."),
    "xact_commit": ("postgresql_commits_total", "Transactions committed."),
    "xact_rollback": ("postgresql_rollbacks_total", "Transactions rolled back."),
    "deadlocks": ("postgresql_deadlocks_total", "Deadlocks found."),
    "temp_bytes": (
        "postgresql_temporary_bytes_total",
        "Written to temporary files: work that did not fit into memory.",
    ),
    "blks_read": ("postgresql_blocks_read_total", "Blocks read from the operating system."),
    "blks_hit": ("postgresql_blocks_hit_total", "Blocks found in the server's own memory."),
}


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at the server."""

    is_writable: bool
    version: str
    max_connections: int
    oldest_transaction_s: float
    databases: tuple[Mapping[str, Any], ...]


class Monitor:
    """One connection as superuser over the private socket, opened again after it was lost."""

    def __init__(self, run_directory: Path, port: int, databases: tuple[str, ...]) -> None:
        self._run_directory = run_directory
        self._port = port
        self._databases = databases
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._turn = asyncio.Lock()

    async def look(self) -> Seen:
        """Ask the server; raises UnreachableError when it does not answer."""
        async with self._turn:
            try:
                return await self._look(await self.connected())
            except FAILURES as error:
                raise UnreachableError(
                    f"the database server does not answer: {type(error).__name__}: {error}"
                ) from error

    async def connected(self) -> "asyncpg.Connection[asyncpg.Record]":
        """Return the connection."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await self.connect(SUPERUSER)
        return self._connection

    async def connect(self, database: str) -> "asyncpg.Connection[asyncpg.Record]":
        """Return another connection as superuser, to any database; whoever asked closes it."""
        return await asyncpg.connect(
            host=str(self._run_directory),
            port=self._port,
            user=SUPERUSER,
            database=database,
            timeout=ANSWER_S,
            command_timeout=ANSWER_S,
            server_settings={"application_name": "ragrid-monitor", "jit": "off"},
        )

    async def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.terminate()

    async def _look(self, connection: "asyncpg.Connection[asyncpg.Record]") -> Seen:
        version, is_replica, most = await connection.fetchrow(
            "SELECT current_setting('server_version'), pg_is_in_recovery(), current_setting('max_connections')::int"
        ) or ("", True, 0)
        found = await connection.fetch(_DATABASES, list(self._databases))
        return Seen(not is_replica, version, most, await connection.fetchval(_OLDEST), tuple(map(dict, found)))


class Page(Collector):
    """The families of one look; none but `postgresql_up` when there was no answer."""

    def __init__(self, seen: Seen | RagridError) -> None:
        self._seen = seen

    def collect(self) -> list[Metric]:
        """Return the families."""
        seen = self._seen
        up = GaugeMetricFamily(names.DATABASE_UP, "1 while the server answers.")
        up.add_metric([], 0.0 if isinstance(seen, RagridError) else 1.0)
        if isinstance(seen, RagridError):
            return [up]
        families: list[Metric] = [up]
        for name, text, value in (
            (names.DATABASE_MAX_CONNECTIONS, "Connections that the server allows.", float(seen.max_connections)),
            (names.DATABASE_OLDEST_TRANSACTION, "Age of the oldest open transaction.", seen.oldest_transaction_s),
        ):
            families.append(GaugeMetricFamily(name, text, value=value))
        for column, (name, text) in FIGURES.items():
            family = (CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily)(
                name, text, labels=["database"]
            )
            for database in seen.databases:
                family.add_metric([database["datname"]], float(database[column]))
            families.append(family)
        return families
