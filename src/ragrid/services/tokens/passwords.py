"""Passwords of people: argon2id (RFC 9106), a few at a time."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from ragrid.errors import UnreachableError

logger = logging.getLogger(__name__)

#: RFC 9106 section 4, second recommended option: 64 MiB, 3 passes, 4 lanes.
MEMORY_KIB, PASSES, LANES = 64 * 1024, 3, 4
#: Hashes computed at once: each takes 64 MiB and some 60 ms of a processor or more.
AT_ONCE = 2
#: Callers that may wait for their turn; more are told to come again, so that guessers cannot pile up memory.
WAITING_LIMIT = 16
LEAST_CHARACTERS = 12
MOST_CHARACTERS = 1024


class Passwords:
    """Hashes and compares in threads of its own, so that the event loop and the store go on meanwhile."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES, type=Type.ID)
        self._threads = ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="argon2")
        self._waiting = 0
        # compared with when there is no such person, so that both refusals take the same time
        self._nobody = self._hasher.hash("nobody has this password")

    async def hash(self, password: str) -> str:
        """Return what is stored of a password; raises UnreachableError when too many wait."""
        return await self._run(password, None) or ""

    async def fits(self, password: str, password_hash: str | None) -> bool:
        """Return whether a password is the one; as slow for nobody (None) as for somebody.

        Raises UnreachableError when too many wait.
        """
        return await self._run(password, password_hash or self._nobody) is not None and password_hash is not None

    def close(self) -> None:
        """End the threads once the hashes under way are done."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def _run(self, password: str, known: str | None) -> str | None:
        if self._waiting >= AT_ONCE + WAITING_LIMIT:
            raise UnreachableError("too many people sign in at this moment; try again in a second")
        self._waiting += 1
        try:
            return await asyncio.wrap_future(self._threads.submit(self._work, password, known))
        finally:
            self._waiting -= 1

    def _work(self, password: str, known: str | None) -> str | None:
        if known is None:
            return self._hasher.hash(password)
        try:
            self._hasher.verify(known, password)
        except InvalidHashError:
            logger.warning("a stored password is no argon2 hash; set it again")
            return None
        except VerificationError:
            return None
        return known


def fault_of(password: str) -> str | None:
    """Return what is wrong with a new password, or None. Length is what counts (NIST SP 800-63B section 5.1.1.2)."""
    if not LEAST_CHARACTERS <= len(password) <= MOST_CHARACTERS:
        return f"wanted {LEAST_CHARACTERS} to {MOST_CHARACTERS} characters, got {len(password)}"
    return None
