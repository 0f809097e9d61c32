"""What every resource of the API works with."""

from dataclasses import dataclass, field

from ragrid.services.memory.ids import IdSource
from ragrid.services.memory.protocol.store import MemoryStore
from ragrid.services.memory.recall import Recall
from ragrid.system.clock import Clock


@dataclass(frozen=True, slots=True)
class Parts:
    """The store, its searches, the clock and the source of ids behind one API; `base` is the public path up to the
    version.
    """

    store: MemoryStore
    clock: Clock
    base: str
    recall: Recall
    ids: IdSource = field(default_factory=IdSource)

    def now_us(self) -> int:
        """Return the time in microseconds since the Unix epoch."""
        return int(self.clock.now_s() * 1_000_000)
