"""How often somebody may guess a password: counted in the store, so by all replicas together and over restarts."""

import hashlib

from ragrid.services.tokens.store import Store
from ragrid.services.tokens.throttle import LONGEST_PAUSE_S, REMEMBERED, pause_after_s
from ragrid.system.clock import Clock


class Attempts:
    """Exponential pauses after wrong passwords; the name that failed longest ago is forgotten first.

    An attempt counts as failed from its beginning until `succeeded`, so that many at once, wherever, gain nothing.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def begin(self, name: str) -> float:
        """Count an attempt and return 0; while `name` is paused, count nothing and return the seconds left."""
        key = _key(name)
        if pause_s := self._known(key)[1]:  # a flood at a paused name costs a read each, no write
            return pause_s
        with self._store.change():
            failures, pause_s = self._known(key)
            if pause_s == 0.0:
                self._count(key, failures + 1)
        return pause_s

    def succeeded(self, name: str) -> None:
        """Forget the failures of `name`."""
        with self._store.change():
            self._store.rows("DELETE FROM attempts WHERE name_hash = ?", (_key(name),))

    def _known(self, key: bytes) -> tuple[int, float]:
        """Return the failures in a row, and for how many more seconds the name is paused."""
        rows = self._store.rows("SELECT failures, until_s FROM attempts WHERE name_hash = ?", (key,))
        if not rows:
            return 0, 0.0
        ((failures, until_s),) = rows
        # a clock that was set back must not make a pause of days
        return failures, min(LONGEST_PAUSE_S, max(0.0, until_s - self._clock.now_s()))

    def _count(self, key: bytes, failures: int) -> None:
        now_s = self._clock.now_s()
        self._store.rows(
            "INSERT INTO attempts VALUES (?, ?, ?, ?) ON CONFLICT (name_hash) DO UPDATE"
            " SET failures = excluded.failures, failed_s = excluded.failed_s, until_s = excluded.until_s",
            (key, failures, now_s, now_s + pause_after_s(failures)),
        )
        ((remembered,),) = self._store.rows("SELECT count(*) FROM attempts")
        if remembered > REMEMBERED:
            oldest = "SELECT name_hash FROM attempts ORDER BY failed_s LIMIT ?"
            self._store.rows(f"DELETE FROM attempts WHERE name_hash IN ({oldest})", (remembered - REMEMBERED,))  # noqa: S608 - constants


def _key(name: str) -> bytes:
    """Return what is stored of a name: as long for all, and whatever was typed."""
    return hashlib.sha256(b"ragrid-attempt\0" + name.encode("utf-8", "surrogatepass")).digest()
