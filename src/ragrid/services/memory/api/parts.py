"""What every resource of the API works with."""

from dataclasses import dataclass, field

from ragrid.services.memory.ids import IdSource
from ragrid.services.memory.jobs.runner import JobRunner
from ragrid.services.memory.protocol.store import MemoryStore
from ragrid.services.memory.recall import Recall
from ragrid.system.clock import Clock


@dataclass(frozen=True, slots=True)
class Parts:
    """What is behind one API: the store, its searches and jobs, clock and ids; `base` is the path up to the version."""

    store: MemoryStore
    clock: Clock
    base: str
    recall: Recall
    jobs: JobRunner
    ids: IdSource = field(default_factory=IdSource)

    def now_us(self) -> int:
        """Return the time in microseconds since the Unix epoch."""
        return int(self.clock.now_s() * 1_000_000)
