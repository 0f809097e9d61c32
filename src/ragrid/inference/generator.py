"""What turns passages into an answer, as the rest of ragrid sees it."""

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

NOTHING_FOUND = "Nothing relevant was found in the documents."
_CITATION = re.compile(r"\[(\d{1,3})\]")


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document: characters `start` to `end` of its stored text. `score` is 0 to 1, higher is better.

    `context` is the title and the headings above it.
    """

    document_id: str
    document: str
    start: int
    end: int
    text: str
    score: float
    context: str = ""


class Generator(Protocol):
    """Question and passages to an answer that cites them as [1], [2], … in their order."""

    @property
    def name(self) -> str:
        """What served: shown in every answer."""
        ...

    def stream(self, question: str, passages: Sequence[Passage], *, token: str) -> AsyncIterator[str]:
        """Yield the answer piece by piece; `token` is the caller's own.

        Raises UnreachableError when the server is away or breaks off, before or after the first piece.
        """
        ...

    async def close(self) -> None:
        """Release connections."""
        ...


def cited(answer: str, passages: int) -> tuple[int, ...]:
    """Return the numbers of the passages that `answer` cites, ascending; numbers that name none are left out."""
    numbers = {int(match[1]) for match in _CITATION.finditer(answer)}
    return tuple(sorted(number for number in numbers if 1 <= number <= passages))
