"""Questions as vectors, quickly or not at all: a search never waits long for an embedder that is slow or away."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping

from ragrid.errors import RagridError
from ragrid.inference.embedder import FloatArray
from ragrid.services.memory.embedding.lazy import LazyEmbedder
from ragrid.services.memory.metrics import EMBEDDING_FAILURES, QUERY_EMBED_SECONDS
from ragrid.services.memory.protocol.search import QueryVector
from ragrid.system.clock import Clock

logger = logging.getLogger(__name__)

#: Longest that a search waits for its vector, seconds. The local model takes 0.005 s.
TIMEOUT_S = 1.5
#: After a failure nobody asks the embedder for this long, seconds: searches by words go on at full speed.
PAUSE_S = 5.0
#: Longest that the start of the worker waits for the models of questions to be loaded, seconds.
WARM_UP_S = 10.0
#: Questions whose vectors are kept.
KEPT = 256


class QueryEmbedder:
    """Embeds questions with the embedder of the model that searches use."""

    def __init__(self, embedders: Mapping[str, LazyEmbedder], clock: Clock) -> None:
        self._embedders = embedders
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str], FloatArray] = OrderedDict()
        self._paused_until_s = 0.0

    async def embed(self, model: str, text: str) -> QueryVector | None:
        """Return the vector of a question, or None when `model` has no embedder or it fails, is slow, or just did."""
        key = (model, text)
        known = self._kept.get(key)
        if known is not None:
            self._kept.move_to_end(key)
            return QueryVector(model, known)
        embedder = self._embedders.get(model)
        if embedder is None or self._clock.monotonic_s() < self._paused_until_s:
            return None
        try:
            with QUERY_EMBED_SECONDS.time():
                async with asyncio.timeout(TIMEOUT_S):
                    row = (await embedder.embed([text]))[0]
        except Exception as error:  # noqa: BLE001 - whatever an embedder runs into, the search goes on by words
            self._pause(model, error)
            return None
        self._kept[key] = row
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return QueryVector(model, row)

    async def warm_up(self) -> None:
        """Load the models, so that the first question finds them loaded; one that is away is left for later."""
        for embedder in self._embedders.values():
            try:
                async with asyncio.timeout(WARM_UP_S):
                    await embedder.embed(["a first question"])
            except Exception as error:  # noqa: BLE001 - whatever it is, the first question will meet it, and say so
                logger.info("a model is not loaded yet", extra={"model": embedder.name, "reason": str(error)[:500]})

    async def close(self) -> None:
        """Release the embedders."""
        for embedder in self._embedders.values():
            await embedder.close()

    def _pause(self, model: str, error: Exception) -> None:
        self._paused_until_s = self._clock.monotonic_s() + PAUSE_S
        EMBEDDING_FAILURES.labels("query").inc()
        known = isinstance(error, RagridError | TimeoutError)
        logger.warning(
            "a question could not be embedded",
            extra={"model": model, "reason": str(error) or type(error).__name__},
            exc_info=None if known else error,
        )
