"""What the benchmark of memories writes and asks. Pure: the same seed, the same bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Words that there are; the n-th is 1/n times as common as the first, as in a language.
VOCABULARY = 20_000
#: Words of one memory, about 440 characters, and of one question.
MEMORY_WORDS = 55
QUESTION_WORDS = 6
#: Members of a vector are whole numbers up to this: only its direction counts, and they are short to write.
_LARGEST_MEMBER = 99

_CHANCES = 1 / np.arange(1, VOCABULARY + 1)
_CUMULATED = np.cumsum(_CHANCES) / np.sum(_CHANCES)
_WORDS = tuple(f"word{number}" for number in range(VOCABULARY))


@dataclass(frozen=True)
class Model:
    """The model of the vectors that come with the memories: as a service that embeds by itself would have them."""

    name: str
    dimension: int


def memories_of(seed: int, numbers: range, *, model: Model | None, ttl_s: int) -> Sequence[Mapping[str, Any]]:
    """Return the memories for these numbers, each with a text of its own and, with a model, a vector of its own."""
    chooser = np.random.default_rng((seed, numbers.start))
    texts = _texts(chooser, len(numbers), MEMORY_WORDS)
    made: list[dict[str, Any]] = [
        {"content": f"memory {number} {text}", "ttl_seconds": ttl_s, "user_id": "bench"}
        for number, text in zip(numbers, texts, strict=True)
    ]
    if model is not None:
        size = (len(numbers), model.dimension)
        vectors = chooser.integers(-_LARGEST_MEMBER, _LARGEST_MEMBER, size, endpoint=True).tolist()
        for one, values in zip(made, vectors, strict=True):
            one["embedding"] = {"model": model.name, "values": values}
    return made


def questions_of(seed: int, count: int) -> Sequence[str]:
    """Return different questions."""
    return _texts(np.random.default_rng((seed, 1 << 40)), count, QUESTION_WORDS)


def _texts(chooser: np.random.Generator, count: int, words: int) -> list[str]:
    places = np.searchsorted(_CUMULATED, chooser.random((count, words)))
    return [" ".join(_WORDS[place] for place in row) for row in places.tolist()]
