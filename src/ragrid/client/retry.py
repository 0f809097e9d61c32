"""Whether a call that failed is tried again, and when (pure): never where it could do a thing twice."""

from collections.abc import Callable
from dataclasses import dataclass

from ragrid.client.calls import Repeat
from ragrid.client.refusals import NoAnswerError, RefusedError, UnavailableError
from ragrid.errors import RagridError

#: Problems that the grid answers with before it does anything at all.
UNDONE = frozenset({"overloaded", "too-many-requests"})
_TOO_MANY = 429


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How patient a client is. Pauses grow from `first_pause_s`, each twice the last, cut by up to half at random.

    A `Retry-After` is always kept, and one beyond `longest_pause_s` ends the trying: who is told to wait that long
    should hear of it.
    """

    attempts: int = 4
    first_pause_s: float = 0.2
    longest_pause_s: float = 20.0


#: One attempt, no more.
ONCE = Retry(attempts=1)


class Attempts:
    """The attempts of one call. `chance` returns a number from 0 to 1, another one each time."""

    def __init__(self, retry: Retry, repeat: Repeat, chance: Callable[[], float]) -> None:
        self._retry = retry
        self._repeat = repeat
        self._chance = chance
        self._failed = 0
        self._is_answer_lost = False

    def pause_s(self, error: RagridError) -> float | None:
        """Return how long to wait before the next attempt, or None when `error` is the call's outcome."""
        self._failed += 1
        if self._is_answer_lost and isinstance(error, RefusedError):
            error.add_note("an earlier attempt of this call got no answer, and may be what did it: read, and compare")
        if self._failed >= self._retry.attempts or not may_repeat(self._repeat, error):
            return None
        self._is_answer_lost |= not _is_surely_undone(error)
        asked_s = error.retry_after_s if isinstance(error, RefusedError | UnavailableError) else None
        if asked_s is not None:
            return asked_s if asked_s <= self._retry.longest_pause_s else None
        pause_s: float = min(self._retry.first_pause_s * 2 ** (self._failed - 1), self._retry.longest_pause_s)
        return pause_s * (1 - self._chance() / 2)


def may_repeat(repeat: Repeat, error: RagridError) -> bool:
    """Tell whether a call may be sent again after `error`."""
    if _is_surely_undone(error):
        return repeat != "never"
    return repeat == "always" and isinstance(error, NoAnswerError | UnavailableError)


def _is_surely_undone(error: RagridError) -> bool:
    match error:
        case NoAnswerError():
            return not error.was_sent
        case UnavailableError():
            return error.code in UNDONE
        case RefusedError():
            return error.status == _TOO_MANY
    return False
