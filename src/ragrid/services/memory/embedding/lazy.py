"""An embedder that is opened when it is first needed: a missing model, or one slow to load, keeps nobody waiting."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from ragrid.errors import RagridError, UnreachableError
from ragrid.inference.embedder import Embedder, FloatArray
from ragrid.inference.hashing import HashingEmbedder
from ragrid.spec.settings import EmbedderSettings


class LazyEmbedder:
    """Opens its embedder on a thread at the first call, and tries again at each call until that works."""

    def __init__(self, name: str, open_it: Callable[[], Embedder]) -> None:
        self.name = name
        self._open = open_it
        self._embedder: Embedder | None = None
        self._lock = asyncio.Lock()

    async def embed(self, texts: Sequence[str]) -> FloatArray:
        """Return one row per text, each of length 1.

        Raises UnreachableError while the embedder cannot be opened or does not answer, RagridError for nonsense.
        """
        embedder = self._embedder or await self._opened()
        return await embedder.embed(texts)

    async def close(self) -> None:
        """Release what was opened."""
        if self._embedder is not None:
            await self._embedder.close()

    async def _opened(self) -> Embedder:
        async with self._lock:
            if self._embedder is None:
                try:
                    self._embedder = await asyncio.to_thread(self._open)
                except RagridError as error:
                    raise UnreachableError(f"embedder {self.name!r}: {error}") from error
            return self._embedder


def lazy_embedder(settings: EmbedderSettings, *, niceness: int = 0) -> LazyEmbedder:
    """Return the embedder that `settings` name, not opened yet; a local model gets one thread."""
    name = HashingEmbedder.name if settings.kind == "hashing" else settings.model
    settings = msgspec.structs.replace(settings, threads=1)
    return LazyEmbedder(name, partial(_open, settings, niceness))


def _open(settings: EmbedderSettings, niceness: int) -> Embedder:
    # Here and not above: the runtime of local models takes most of a second to import, and the service starts without.
    from ragrid.inference.choose import open_embedder  # noqa: PLC0415 - see above

    return open_embedder(settings, niceness=niceness)
