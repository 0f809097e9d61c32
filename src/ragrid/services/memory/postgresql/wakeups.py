"""Tells other replicas whose memories have changed, and hears it from them; through the server's LISTEN and NOTIFY.

It is a hint and never more: a commit does not wait for it (a NOTIFY inside a transaction would put all commits of the
server one behind the other), and whoever waits looks again from time to time without it.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Iterable

import asyncpg
import msgspec

from ragrid.errors import RagridError
from ragrid.services.memory.changes import Scope
from ragrid.services.memory.feed.watch import Watches
from ragrid.services.memory.postgresql.failures import FAILURES
from ragrid.services.memory.postgresql.pool import Pool, close, connect

logger = logging.getLogger(__name__)

CHANNEL = "ragrid_memory"
#: Changes within this time are told at once, seconds.
PAUSE_S = 0.02
#: Whoever waits looks again at least this often, seconds: for what was lost with a process or a connection.
LOOK_AGAIN_S = 5.0
#: The server takes less than 8000 bytes at once.
_SCOPES_AT_ONCE = 20

_encode = msgspec.json.Encoder().encode


class _Hint(msgspec.Struct, array_like=True):
    sender: str
    scopes: list[tuple[str, str]]


_decode = msgspec.json.Decoder(_Hint).decode


class Wakeups:
    """Wakes the waiting clients of this process, and those of the others."""

    def __init__(self, dsn: str, pool: Pool, watches: Watches) -> None:
        self._dsn = dsn
        self._pool = pool
        self._watches = watches
        self._name = secrets.token_hex(8)
        self._untold: set[Scope] = set()
        self._has_news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to tell and to listen; needs a running loop."""
        self._tasks = [asyncio.create_task(self._tell()), asyncio.create_task(self._listen())]

    def changed(self, scopes: Iterable[Scope]) -> None:
        """Wake whoever waits for one of `scopes`, here at once and elsewhere soon."""
        new = set(scopes)
        if new:
            self._watches.changed(new)
            self._untold |= new
            self._has_news.set()

    async def close(self) -> None:
        """Stop, and wake everybody who waits here."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._watches.wake_everybody()

    async def _tell(self) -> None:
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            untold, self._untold = sorted((one.tenant, one.namespace) for one in self._untold), set()
            try:
                async with self._pool.reader(None) as connection:
                    for start in range(0, len(untold), _SCOPES_AT_ONCE):
                        hint = _encode(_Hint(self._name, untold[start : start + _SCOPES_AT_ONCE])).decode()
                        await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, hint)
            except RagridError as error:
                logger.warning("other replicas hear of changes later", extra={"reason": str(error)})
            await asyncio.sleep(PAUSE_S)

    async def _listen(self) -> None:
        """Hear of changes for ever; while the server is away, try again, and wake everybody once it is back."""
        was_lost = False
        while True:
            try:
                connection = await connect(self._dsn)
            except FAILURES as error:
                logger.warning("changes of other replicas are heard of later", extra={"reason": str(error)})
                await asyncio.sleep(LOOK_AGAIN_S)
                continue
            try:
                await connection.add_listener(CHANNEL, self._heard)
                if was_lost:
                    self._watches.wake_everybody()
                await self._look_again(connection)
            except FAILURES as error:
                logger.warning("the connection that listens was lost", extra={"reason": str(error)})
            finally:
                was_lost = True
                await close(connection)

    async def _look_again(self, connection: asyncpg.Connection) -> None:
        while True:
            await asyncio.sleep(LOOK_AGAIN_S)
            # A server that went away without a word is noticed by this.
            await connection.execute("SELECT")
            self._watches.wake_everybody()

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        try:
            hint = _decode(str(payload))
        except msgspec.DecodeError:  # anybody in this database may send on this channel
            return
        if hint.sender != self._name:
            self._watches.changed(Scope(*one) for one in hint.scopes)
