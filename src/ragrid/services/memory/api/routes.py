"""`MemoryApi`: every operation of the memory service, and the routes that are made of them."""

from starlette.routing import Route

from ragrid.services.memory.api.admin import AdminApi
from ragrid.services.memory.api.batch import BatchApi
from ragrid.services.memory.api.changes import ChangesApi
from ragrid.services.memory.api.context import ContextApi
from ragrid.services.memory.api.description import DescriptionApi
from ragrid.services.memory.api.exchange import ExchangeApi
from ragrid.services.memory.api.forget import ForgetApi
from ragrid.services.memory.api.jobs import JobsApi
from ragrid.services.memory.api.memory_history import MemoryHistoryApi
from ragrid.services.memory.api.memory_reading import MemoryReadingApi
from ragrid.services.memory.api.memory_writing import MemoryWritingApi
from ragrid.services.memory.api.namespaces import NamespacesApi
from ragrid.services.memory.api.operation import Operation, routes_of
from ragrid.services.memory.api.parts import Parts
from ragrid.services.memory.api.restore import RestoreApi
from ragrid.services.memory.api.search import SearchApi
from ragrid.services.memory.api.sessions import SessionsApi
from ragrid.services.memory.jobs.runner import JobRunner
from ragrid.services.memory.protocol.store import MemoryStore
from ragrid.services.memory.recall import Recall
from ragrid.system.clock import Clock


class MemoryApi:
    """The memory API over one store; tenant and author come from the token, and from nowhere else."""

    def __init__(
        self, store: MemoryStore, clock: Clock, *, prefix: str = "/memory", recall: Recall | None = None
    ) -> None:
        self._base = f"{prefix}/v1"
        self._jobs = JobRunner(store, clock)
        parts = Parts(store, clock, self._base, recall or Recall(store), self._jobs)
        # The busiest first: routes are tried in order. POST /memories/search fits no method of /memories/{id}.
        resources = (
            MemoryReadingApi(parts),
            MemoryWritingApi(parts),
            MemoryHistoryApi(parts),
            SearchApi(parts),
            ForgetApi(parts),
            NamespacesApi(parts),
            RestoreApi(parts),
            BatchApi(parts),
            SessionsApi(parts),
            ChangesApi(parts),
            JobsApi(parts),
            ExchangeApi(parts),
            ContextApi(parts),
            AdminApi(parts),
        )
        served = tuple(one for each in resources for one in each.operations())
        self.operations: tuple[Operation, ...] = (*served, *DescriptionApi(self._base, served).operations())

    async def close(self) -> None:
        """End the jobs that run; to be called before the store is closed."""
        await self._jobs.close()

    def routes(self) -> list[Route]:
        """Return the routes, one for each path."""
        return routes_of(self.operations, self._base)
