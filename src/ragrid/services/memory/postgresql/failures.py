"""From what goes wrong between us and the server to the store's own refusals. Pure."""

import asyncpg

from ragrid.errors import RagridError
from ragrid.services.memory.errors import StoreBrokenError, StoreBusyError, StoreFullError

#: Whatever a call to the server may raise; nothing else is caught.
FAILURES = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,  # a TimeoutError is one, too
    EOFError,
)

#: Failures of one change by itself; tried alone, the others of its transaction are spared.
OF_ONE = (
    asyncpg.DataError,
    asyncpg.exceptions.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    asyncpg.DiskFullError,
)

#: Lost against another transaction; the same again may win.
LOST = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)

_BUSY = (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError, *LOST)

#: The server answers, and the connection is good for the next statement.
_SERVER_IS_WELL = (*OF_ONE, *_BUSY)


def refusal_of(error: BaseException) -> RagridError:
    """Return what a caller hears of a failure."""
    if isinstance(error, asyncpg.DiskFullError):
        return StoreFullError("the database server's disk is full; make room there; reads go on")
    if isinstance(error, _BUSY):
        return StoreBusyError(f"the database did not come to it in time ({_reason(error)}); try again soon")
    return StoreBrokenError(f"the database failed ({_reason(error)}); nothing was written; try again")


def is_connection_good(error: BaseException) -> bool:
    """Tell whether the connection that `error` came from may be used again."""
    return isinstance(error, _SERVER_IS_WELL)


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
