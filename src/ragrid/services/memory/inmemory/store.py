"""`InMemoryStore`: all facets over one set of dictionaries."""

from ragrid.services.memory.inmemory.backups import InMemoryBackups
from ragrid.services.memory.inmemory.batch import InMemoryBatches
from ragrid.services.memory.inmemory.embeddings import InMemoryEmbeddings
from ragrid.services.memory.inmemory.exchange import InMemoryExchange
from ragrid.services.memory.inmemory.feed import InMemoryFeed
from ragrid.services.memory.inmemory.forgetting import InMemoryForgetting
from ragrid.services.memory.inmemory.jobs import InMemoryJobs
from ragrid.services.memory.inmemory.namespaces import InMemoryNamespaces
from ragrid.services.memory.inmemory.search import InMemorySearch
from ragrid.services.memory.inmemory.sessions import InMemorySessions
from ragrid.services.memory.inmemory.upkeep import InMemoryUpkeep


class InMemoryStore(
    InMemoryBackups,
    InMemoryBatches,
    InMemoryForgetting,
    InMemoryNamespaces,
    InMemoryEmbeddings,
    InMemoryExchange,
    InMemoryFeed,
    InMemoryJobs,
    InMemorySearch,
    InMemorySessions,
    InMemoryUpkeep,
):
    """A MemoryStore in dictionaries; never full, never broken, durable for as long as it lives."""
