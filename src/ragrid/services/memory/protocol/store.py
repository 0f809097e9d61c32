"""`MemoryStore`: all facets of a store together, whichever adapter keeps it."""

from typing import Protocol

from ragrid.services.memory.protocol.backups import Backups
from ragrid.services.memory.protocol.batch import Batches
from ragrid.services.memory.protocol.embeddings import Embeddings
from ragrid.services.memory.protocol.exchange import Exchange
from ragrid.services.memory.protocol.feed import Feed
from ragrid.services.memory.protocol.forgetting import Forgetting
from ragrid.services.memory.protocol.jobs import Jobs
from ragrid.services.memory.protocol.memories import Memories
from ragrid.services.memory.protocol.namespaces import Namespaces
from ragrid.services.memory.protocol.search import Search
from ragrid.services.memory.protocol.sessions import Sessions
from ragrid.services.memory.protocol.upkeep import Upkeep


class MemoryStore(
    Memories,
    Forgetting,
    Namespaces,
    Backups,
    Batches,
    Embeddings,
    Exchange,
    Feed,
    Jobs,
    Search,
    Sessions,
    Upkeep,
    Protocol,
):
    """What the API asks of a store.

    Every method may raise StoreBrokenError. A change that returned is durable; one that raised left nothing
    behind, save when StoreBrokenError says that the disk does not answer: then it may still be kept, whole.
    A store has no clock: each call says what time it is, in microseconds since the Unix epoch. One object serves one
    event loop.
    """
