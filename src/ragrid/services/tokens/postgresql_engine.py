"""The token store's database in PostgreSQL, which several replicas share.

Changes of all replicas run one after another, by a lock that ends with the transaction: what the code reads inside a
change still holds when it writes, so whatever is good once is good once among all of them. A replica that hangs inside
a change loses it after some seconds. Durable before answered: `synchronous_commit`.
"""

import asyncio
import contextlib
import functools
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from ragrid.errors import RagridError, StateError, UnreachableError
from ragrid.services.tokens.engine import Binding
from ragrid.services.tokens.postgresql_schema import REVOKE, SCHEMA, STEPS, VERSION

logger = logging.getLogger(__name__)

T = TypeVar("T")

CONNECT_TIMEOUT_S = 5.0
#: Longer than any of the server's own limits below: the server is then silent, and the connection given up.
ANSWER_TIMEOUT_S = 8.0
SETTINGS = {
    "application_name": "ragrid-tokens",
    "search_path": SCHEMA,
    "synchronous_commit": "on",
    "statement_timeout": "6s",
    "idle_in_transaction_session_timeout": "3s",
    "jit": "off",
}
#: Names the lock of all changes ("rgTK"); locks belong to one database.
_LOCK = 0x7267544B
_BEGIN = f"BEGIN; SELECT pg_advisory_xact_lock({_LOCK})"
_CHANNEL = "ragrid_tokens"
_FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, EOFError)
#: What trying again does not mend. A refused password is none of these: the grid's own PostgreSQL makes its accounts
#: in the first moments of its first start.
_REFUSALS = (
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.ClientConfigurationError,
)


class PostgresqlEngine:
    """One connection, opened when it is needed and again after it was lost. For one thread at a time.

    asyncpg lives in an event loop, which runs in a thread of its own: callers wait for it as they wait for a disk.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._where = _where(dsn)
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._is_changing = False
        self._has_news = False
        self._heard: Callable[[], object] | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="postgresql", daemon=True)
        self._thread.start()

    @property
    def where(self) -> str:
        """The address, without user and password."""
        return self._where

    def prepare(self) -> None:
        """Bring the tables up to date: all steps or none, by one replica.

        Raises StateError for tables of a newer release or a database that lets nobody in, UnreachableError for silence.
        """
        with self.change(), self._translated():
            self._wait(self._migrate())

    @contextlib.contextmanager
    def change(self) -> Iterator[None]:
        """Make the block one durable change that runs alone among all replicas."""
        try:
            with self._translated():
                self._wait(self._execute(_BEGIN))
            self._is_changing, self._has_news = True, False
            yield
            with self._translated():
                news = f"NOTIFY {_CHANNEL}; " if self._has_news else ""
                self._wait(self._execute(f"{news}COMMIT"))
        except BaseException:
            self._rollback()
            raise
        finally:
            self._is_changing = False

    def rows(self, query: str, bindings: Sequence[Binding] = ()) -> list[tuple[Any, ...]]:
        """Run one statement, and return what it found."""
        with self._translated():
            return self._wait(self._fetch(_numbered(query), [_storable(each) for each in bindings]))

    def announce(self) -> None:
        """Tell the other replicas, when the change is done, that they should look again."""
        self._has_news = True

    def listen(self, heard: Callable[[], object]) -> None:
        """Call `heard`, in the engine's thread, when another replica has announced a change or one may be missed."""
        self._heard = heard

    def scrub(self) -> None:
        """Do nothing: the server removes what was deleted in its own time."""

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            with contextlib.suppress(*_FAILURES):
                self._wait(self._connection.close(timeout=CONNECT_TIMEOUT_S))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _fetch(self, query: str, bindings: Sequence[Binding]) -> list[tuple[Any, ...]]:
        connection = await self._connected()
        return [tuple(row) for row in await connection.fetch(query, *bindings)]

    async def _execute(self, statements: str) -> None:
        connection = await self._connected()
        await connection.execute(statements)

    async def _connected(self) -> "asyncpg.Connection[asyncpg.Record]":
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        if self._is_changing:
            raise asyncpg.InterfaceError("the connection was lost in the middle of a change, which did not happen")
        connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
            self._dsn,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=ANSWER_TIMEOUT_S,
            server_settings=SETTINGS,
            target_session_attrs=SessionAttribute.read_write,  # not what a failover left behind
        )
        await connection.add_listener(_CHANNEL, self._notified)
        self._connection = connection
        self._tell()
        return connection

    def _notified(self, connection: Any, process: int, _channel: str, _payload: object) -> None:
        if process != connection.get_server_pid():
            self._tell()

    def _tell(self) -> None:
        if self._heard is not None:
            self._heard()

    def _rollback(self) -> None:
        """End the transaction; a connection that cannot even do that is given up, which ends it as well."""
        connection = self._connection
        if connection is None or connection.is_closed():
            return
        try:
            self._wait(connection.execute("ROLLBACK"))
        except _FAILURES:
            self._give_up()

    def _give_up(self) -> None:
        if self._connection is not None:
            self._loop.call_soon_threadsafe(self._connection.terminate)
            self._connection = None

    async def _migrate(self) -> None:
        connection = await self._connected()
        if not await connection.fetchval("SELECT to_regnamespace($1) IS NOT NULL", SCHEMA):
            await connection.execute(f"CREATE SCHEMA {SCHEMA}")
        await connection.execute("CREATE TABLE IF NOT EXISTS format (version integer NOT NULL)")
        version = await connection.fetchval("SELECT max(version) FROM format") or 0
        if version > VERSION:
            raise StateError(
                f"{self._where}: format {version}, this release reads 1 to {VERSION}; run the newer release"
            )
        if version == VERSION:
            return
        for step in STEPS[version:]:
            await connection.execute(step)
        await connection.execute(REVOKE)
        await connection.execute("INSERT INTO format VALUES ($1)", VERSION)
        logger.info("tables are up to date", extra={"store": self._where, "from": version, "to": VERSION})

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except _FAILURES as error:
            if isinstance(error, TimeoutError):  # whoever hangs there would hold up the next call as well
                self._give_up()
            raise self._refusal(error) from error

    def _refusal(self, error: BaseException) -> RagridError:
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if isinstance(error, _REFUSALS):
            return StateError(
                f"{self._where}: {reason}; look at the address in database_url_file and at what its user may do"
            )
        return UnreachableError(f"{self._where}: {reason}; look at the database server")


def open_database(dsn: str) -> PostgresqlEngine:
    """Open the database at `dsn`, its tables made or brought up to date."""
    engine = PostgresqlEngine(dsn)
    try:
        engine.prepare()
    except BaseException:
        engine.close()
        raise
    return engine


@functools.lru_cache(maxsize=256)
def _numbered(query: str) -> str:
    """Return the statement with PostgreSQL's placeholders; none of ours holds a `?` that is none."""
    first, *others = query.split("?")
    return first + "".join(f"${number}{text}" for number, text in enumerate(others, 1))


def _storable(binding: Binding) -> Binding:
    """Return what the server takes; text with a NUL is nobody's name, and may stand in the audit line of a refusal."""
    return binding.replace("\0", "\ufffd") if isinstance(binding, str) else binding


def _where(dsn: str) -> str:
    parts = urlsplit(dsn)
    host = parts.netloc.rpartition("@")[2]
    return f"postgresql://{host}{parts.path}"
