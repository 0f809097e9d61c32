"""How long a caller waits for a disk that does not answer: a hung disk must not hang everybody."""

import asyncio
from collections import deque
from typing import Any

from ragrid.services.memory.errors import StoreBrokenError

#: A write that waits longer than this is told so, seconds; a slow disk's flush took 0.03 s at its worst.
PATIENCE_S = 5.0
#: How often the oldest write is looked at, seconds.
LOOK_S = 1.0


class Patience:
    """Watches the writes that wait, oldest first; one timer for all of them, and none when nothing waits."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._is_over = False

    def check(self) -> None:
        """Raise StoreBrokenError at once while the disk does not answer."""
        if self._is_over:
            raise StoreBrokenError("the disk of the store does not answer; nothing was written, try again later")

    def add(self, future: asyncio.Future[Any]) -> None:
        """Watch one more write; they end in the order in which they came."""
        loop = future.get_loop()
        self._waiting.append((loop.time(), future))
        if self._timer is None:
            self._timer = loop.call_later(LOOK_S, self._look)

    def answered(self, count: int) -> None:
        """Note that the oldest `count` writes were answered."""
        self._is_over = False
        for _ in range(count):
            self._waiting.popleft()

    def _look(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        since_s, future = self._waiting[0]
        loop = future.get_loop()
        if loop.time() - since_s > PATIENCE_S:
            self._give_up()
        self._timer = loop.call_later(LOOK_S, self._look)

    def _give_up(self) -> None:
        self._is_over = True
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(
                    StoreBrokenError(
                        "the disk of the store does not answer, and whether this write is kept is not known yet; "
                        "read it again, or repeat it with its Idempotency-Key or If-Match"
                    )
                )
