"""What waits to be written for one tenant, and how long its callers wait for a database that does not answer."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec

from ragrid.services.memory.errors import StoreBrokenError
from ragrid.services.memory.postgresql.transaction import Transaction
from ragrid.services.memory.postgresql.workspace import Need

#: Changes that one commit carries at most.
BATCH = 256
#: A caller whose write is not answered by then is told so, seconds; as for a hung disk under SQLite.
PATIENCE_S = 5.0

NOTHING = Need()

_NOT_BEGUN = "the database does not answer; nothing was written, try again later"
_NOT_KNOWN = (
    "the database does not answer, and whether this write is kept is not known yet; read it again, or repeat it with "
    "its Idempotency-Key or If-Match"
)

Work = Callable[[Transaction], Awaitable[Any]]


class Job(msgspec.Struct, frozen=True):
    """A piece of work, and what has to be read for it before. It refuses before it writes."""

    work: Work
    need: Need = NOTHING
    #: Changes in it.
    weight: int = 1
    #: How long its caller waits for it.
    patience_s: float = PATIENCE_S


class Waiting(msgspec.Struct, frozen=True):
    """A job whose caller waits, and until when."""

    job: Job
    future: asyncio.Future[Any]
    until_s: float

    @property
    def is_given_up(self) -> bool:
        """Tell whether the caller was told that it waited in vain."""
        return self.future.done() and not self.future.cancelled()


class Lane:
    """The writes of one tenant: those in the transaction under way, and those behind it, in their order."""

    def __init__(self) -> None:
        self.running: list[Waiting] = []
        self._behind: deque[Waiting] = deque()
        self._is_stuck = False

    def __bool__(self) -> bool:
        return bool(self._behind)

    def add(self, one: Waiting) -> None:
        """Queue a job. Raises StoreBrokenError at once while the database does not answer the one before."""
        if self._is_stuck:
            raise StoreBrokenError(_NOT_BEGUN)
        self._behind.append(one)

    def begin(self) -> list[Waiting]:
        """Take what one commit carries: BATCH changes, or one job however large; nobody's job is left out of it."""
        weight = 0
        while self._behind and (not self.running or weight + self._behind[0].job.weight <= BATCH):
            self.running.append(self._behind.popleft())
            weight += self.running[-1].job.weight
        return self.running

    def end(self) -> None:
        """Note that the transaction under way was answered."""
        self.running = []
        self._is_stuck = False

    def give_up(self, now_s: float) -> Iterable[Waiting]:
        """Tell the callers who waited too long; return the jobs that need not be done any more."""
        for one in self.running:
            if one.until_s <= now_s:
                self._is_stuck = True
                _tell(one, _NOT_KNOWN)
        late = [one for one in self._behind if one.until_s <= now_s]
        for one in late:
            self._behind.remove(one)
            _tell(one, _NOT_BEGUN)
        return late


def _tell(one: Waiting, message: str) -> None:
    if not one.future.done():
        one.future.set_exception(StoreBrokenError(message))
