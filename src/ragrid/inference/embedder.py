"""What turns text into vectors, as the rest of ragrid sees it."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


class Embedder(Protocol):
    """Text to vectors whose dot product is their similarity. One object serves one event loop."""

    @property
    def name(self) -> str:
        """The model's name, stable across restarts: vectors of two names must never meet in one index."""
        ...

    @property
    def dimension(self) -> int:
        """Members of one vector; 0 while an embedder that must ask a server has not asked yet."""
        ...

    @property
    def is_semantic(self) -> bool:
        """Whether meaning is compared; False where only shared words and spelling are."""
        ...

    async def embed(self, texts: Sequence[str]) -> FloatArray:
        """Return one row per text, in order, each of length 1 (L2); a text without any content may be a zero row.

        Raises UnreachableError when a server that is asked does not answer, RagridError when it answers nonsense.
        """
        ...

    async def close(self) -> None:
        """Release threads and connections."""
        ...


def normalise(rows: FloatArray) -> FloatArray:
    """Return the rows scaled to length 1 as float32; a zero row stays zero."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: FloatArray = (rows / np.where(lengths == 0, 1, lengths)).astype(np.float32)
    return scaled
