"""Connections to the server: a bounded number, each knowing for which tenant the server will show rows on it."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextvars import ContextVar

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from ragrid.services.memory.errors import StoreBrokenError, StoreBusyError
from ragrid.services.memory.postgresql.failures import FAILURES, is_connection_good, refusal_of
from ragrid.services.memory.postgresql.schema import SCHEMA

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0
#: The server ends a statement after this time, milliseconds; a connection that says nothing for longer is dropped.
STATEMENT_TIMEOUT_MS = 10_000
ANSWER_TIMEOUT_S = 12.0
#: A caller whose read is not answered by then is told so, seconds.
PATIENCE_S = 5.0
#: Reads that may wait for a connection; the next is refused.
WAITING_LIMIT = 2048

_SETTINGS: Mapping[str, str] = {
    "application_name": "ragrid-memory",
    "search_path": f"{SCHEMA}, public",
    "statement_timeout": str(STATEMENT_TIMEOUT_MS),
    "idle_in_transaction_session_timeout": str(STATEMENT_TIMEOUT_MS),
    "synchronous_commit": "on",
    # Statements are few, prepared and short: planning each anew, or compiling it, costs more than it gives.
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
    # Each has an index to go by, and none may depend on when the server last counted a table.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}


#: The patience of the read under way, in each task.
_PATIENCE: ContextVar[asyncio.Timeout | None] = ContextVar("patience", default=None)


def server_answered() -> None:
    """Begin the patience of the read under way anew: a server that answers does not hang, however much is asked."""
    patience = _PATIENCE.get()
    if patience is not None and not patience.expired():
        patience.reschedule(asyncio.get_running_loop().time() + PATIENCE_S)


class Connection:
    """One connection, and the tenant that the server was told about on it."""

    def __init__(self, raw: asyncpg.Connection) -> None:
        self.raw = raw
        self._tenant: str | None = None

    def is_for(self, tenant: str | None) -> bool:
        """Tell whether the server shows this tenant's rows on it."""
        return self._tenant == tenant

    async def become(self, tenant: str) -> None:
        """Have the server show the rows of `tenant` alone from now on."""
        if self._tenant != tenant:
            self._tenant = None
            await self.raw.execute("SELECT set_config('ragrid.tenant', $1, false)", tenant)
            self._tenant = tenant


class Pool:
    """At most `size` connections, opened when they are needed and again after they were lost.

    asyncpg's own pool would reset the session each time a connection comes back, which is one more round trip for
    each read, and would not know for whom it is.
    """

    def __init__(self, dsn: str, size: int, *, patience_s: float | None = None) -> None:
        self._dsn = dsn
        self._patience_s = patience_s
        self._size = size
        self._in_use = 0
        self._idle: list[Connection] = []
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_closed = False

    @property
    def in_use(self) -> int:
        """Connections that are lent."""
        return self._in_use

    @contextlib.asynccontextmanager
    async def reader(self, tenant: str | None) -> AsyncIterator[asyncpg.Connection]:
        """Lend a connection for reading; what fails comes out as StoreBrokenError or StoreBusyError.

        What is read for a tenant, a caller waits for: after `patience_s` without an answer it has failed, turn and
        connecting included. Who reads in many steps calls `server_answered` behind each.
        """
        is_waited_for = tenant is not None and self._patience_s is not None
        try:
            async with asyncio.timeout(self._patience_s if is_waited_for else None) as patience:
                _PATIENCE.set(patience if is_waited_for else None)
                async with self.connection(tenant) as connection:
                    yield connection
        except FAILURES as error:
            raise refusal_of(error) from error
        finally:
            _PATIENCE.set(None)

    @contextlib.asynccontextmanager
    async def connection(self, tenant: str | None = None) -> AsyncIterator[asyncpg.Connection]:
        """Lend a connection on which the server shows the rows of `tenant`; the server's errors come out as they are.

        Without a tenant, it is the borrower who tells the server, for one transaction.

        One that is no good any more after an error is not used again. Raises StoreBusyError or StoreBrokenError itself.
        """
        await self._turn()
        connection: Connection | None = None
        try:
            connection = self._pick(tenant) or Connection(await connect(self._dsn))
            if tenant is not None:
                await connection.become(tenant)
            yield connection.raw
        except FAILURES as error:
            if connection is not None and not is_connection_good(error):
                connection.raw.terminate()
            raise
        except asyncio.CancelledError:
            # The answer to a statement may still be on its way, and is nobody's.
            if connection is not None:
                connection.raw.terminate()
            raise
        finally:
            self._give_back(connection)

    async def close(self) -> None:
        """Close what is idle; what is lent is closed when it comes back."""
        self._is_closed = True
        while self._waiting:
            self._wake()
        while self._idle:
            await close(self._idle.pop().raw)

    async def _turn(self) -> None:
        if self._in_use >= self._size:
            if len(self._waiting) >= WAITING_LIMIT:
                raise StoreBusyError(f"{len(self._waiting)} reads are waiting, wanted under {WAITING_LIMIT}; try again")
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn  # the place is counted by who gave it
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._leave()
                raise
        else:
            self._in_use += 1
        if self._is_closed:
            self._leave()
            raise StoreBrokenError("the store is closing; send the request again")

    def _pick(self, tenant: str | None) -> Connection | None:
        """Take an idle connection, one that is this tenant's already if there is one."""
        self._idle = [one for one in self._idle if not one.raw.is_closed()]
        for number, connection in enumerate(self._idle):
            if connection.is_for(tenant):
                return self._idle.pop(number)
        return self._idle.pop() if self._idle else None

    def _give_back(self, connection: Connection | None) -> None:
        if connection is not None and not connection.raw.is_closed():
            if self._is_closed:
                connection.raw.terminate()
            else:
                self._idle.append(connection)
        self._leave()

    def _leave(self) -> None:
        self._in_use -= 1
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                self._in_use += 1
                turn.set_result(None)
                return


async def connect(dsn: str) -> asyncpg.Connection:
    """Open one connection with the settings that every statement of ours expects."""
    return await asyncpg.connect(
        dsn,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=ANSWER_TIMEOUT_S,
        statement_cache_size=200,
        max_cached_statement_lifetime=0,  # for ever
        server_settings=dict(_SETTINGS),
        # After a failover, the address may lead to a server that only reads.
        target_session_attrs=SessionAttribute.read_write,
    )


async def close(connection: asyncpg.Connection) -> None:
    """Close a connection, whatever state it is in."""
    with contextlib.suppress(*FAILURES):
        await connection.close(timeout=CONNECT_TIMEOUT_S)
