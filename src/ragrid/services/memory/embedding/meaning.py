"""Everything that searching by meaning needs, put together: embedders, the worker, and the questions."""

import asyncio
import contextlib
from collections.abc import Sequence

from ragrid.services.memory.embedding.lazy import LazyEmbedder, lazy_embedder
from ragrid.services.memory.embedding.query import QueryEmbedder
from ragrid.services.memory.embedding.worker import EmbeddingWorker
from ragrid.services.memory.metrics import OUTBOX_LAG_SECONDS
from ragrid.services.memory.protocol.embeddings import Embeddings
from ragrid.spec.settings import MemorySettings
from ragrid.system.clock import Clock

#: Priority of the worker's model: on two processors, reads and writes go first.
WORKER_NICENESS = 10


class Meaning:
    """The embedding half of one memory service; `embedders` are the one in use and the one to come, if any.

    Questions have `asked` for themselves, where that is given: no question waits for a batch of the outbox.
    """

    def __init__(
        self,
        store: Embeddings,
        embedders: Sequence[LazyEmbedder],
        clock: Clock,
        *,
        asked: Sequence[LazyEmbedder] = (),
    ) -> None:
        self.worker = EmbeddingWorker(store, embedders, clock)
        self.queries = QueryEmbedder({one.name: one for one in asked or embedders}, clock)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to work through the outbox, on the running event loop."""
        OUTBOX_LAG_SECONDS.set_function(lambda: self.worker.lag_s)
        self._task = asyncio.create_task(self._run(), name="memory-embedding")

    async def _run(self) -> None:
        # Questions first: what a model's tokenizer starts, it starts with the priority of who asks first.
        await self.queries.warm_up()
        await self.worker.run()

    async def close(self) -> None:
        """Stop after what is under way, and release the embedders."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self.worker.close()
        await self.queries.close()


def open_meaning(store: Embeddings, settings: MemorySettings, clock: Clock) -> Meaning:
    """Return the embedding half for the embedders that `settings` name; nothing is loaded yet."""
    named = [one for one in (settings.embedder, settings.next_embedder) if one is not None]
    working = [lazy_embedder(one, niceness=WORKER_NICENESS) for one in named]
    return Meaning(store, working, clock, asked=[lazy_embedder(one) for one in named])
