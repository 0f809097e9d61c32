"""Erasing what has expired, by a time that a clock set wrong cannot hurry."""

import logging

from ragrid.errors import RagridError
from ragrid.services.memory.metrics import ROWS, STORE_BYTES
from ragrid.services.memory.protocol.store import MemoryStore
from ragrid.system.clock import Clock

logger = logging.getLogger(__name__)

SWEEP_BATCH = 500
#: How far the wall clock may run ahead of the time that has passed since the start, seconds, and be believed.
DRIFT_S = 60.0


class SteadyTime:
    """The wall clock's time, as long as it has not jumped ahead; then what it would be without the jump.

    Expiry is read off the wall clock, so a jump ahead hides what it makes look expired, and a jump back shows it
    again. Erasing cannot be taken back: it waits until that much time has really passed, or until the next start.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wall_s, self._monotonic_s = clock.now_s(), clock.monotonic_s()

    def now_us(self) -> int:
        """Return microseconds since the Unix epoch; never later than the wall clock."""
        passed_s = self._clock.monotonic_s() - self._monotonic_s
        return int(min(self._clock.now_s(), self._wall_s + passed_s + DRIFT_S) * 1_000_000)


async def sweep(store: MemoryStore, time: SteadyTime) -> None:
    """Erase what has expired and measure what is left; a store that fails is left for the next time."""
    now_us = time.now_us()
    try:
        while await store.sweep(now_us=now_us, limit=SWEEP_BATCH) == SWEEP_BATCH:
            pass
        while await store.sweep_sessions(now_us=now_us, limit=SWEEP_BATCH) == SWEEP_BATCH:
            pass
        await store.sweep_jobs(now_us=now_us)
        stats = await store.stats()
        ROWS.set(stats.rows)
        STORE_BYTES.set(stats.size_bytes)
    except RagridError as error:
        logger.warning("housekeeping failed", extra={"reason": str(error)})
    except Exception:  # a fault of ours must not be the last time that anything is swept
        logger.exception("housekeeping failed")
