"""Text to overlapping pieces, each known by its character offsets. Pure."""

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

#: A run of letters longer than this counts as several words, so that text without spaces is cut as well.
_LONGEST_WORD = 32
_WORD = re.compile(rf"\S{{1,{_LONGEST_WORD}}}")
#: A chunk has at most this many characters for each of its words (English has about six, the space included).
_CHARACTERS_PER_WORD = 10
_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’)\]]*$")  # noqa: RUF001 - other scripts end their sentences too


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` (included) to `end` (excluded)."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ChunkSize:
    """How large chunks are, in words, and how many words two neighbours share at most."""

    words: int
    overlap_words: int

    def __post_init__(self) -> None:
        if not 0 <= self.overlap_words <= self.words // 2 or self.words < 1:
            message = f"overlap_words: got {self.overlap_words}, wanted 0 to half of words ({self.words})"
            raise ValueError(message)


def split(text: str, size: ChunkSize, *, breaks: Sequence[int] = ()) -> list[Span]:
    """Return the chunks of `text` in order: every word lies in at least one, none is empty or longer than `size`.

    A chunk ends where a section (`breaks`: offsets of headings), a paragraph or a sentence ends, if one does in its
    second half; the next one repeats whole sentences up to the overlap.
    """
    words = _Words(text, frozenset(breaks))
    spans: list[Span] = []
    first = 0
    while first < len(words):
        after = words.chunk_end(first, size)
        spans.append(Span(words.starts[first], words.ends[after - 1]))
        if after == len(words):
            break
        first = words.next_start(first, after, size)
    return spans


class _Words:
    """The words of a text, and what ends after each of them."""

    def __init__(self, text: str, breaks: frozenset[int]) -> None:
        self._text = text
        self._breaks = breaks
        self.starts, self.ends = array("Q"), array("Q")
        for match in _WORD.finditer(text):
            self.starts.append(match.start())
            self.ends.append(match.end())

    def __len__(self) -> int:
        return len(self.starts)

    def chunk_end(self, first: int, size: ChunkSize) -> int:
        """Return the position after the last word of the chunk that begins with word `first`."""
        limit = min(first + size.words, len(self))
        longest = self.starts[first] + size.words * _CHARACTERS_PER_WORD
        while limit > first + 1 and self.ends[limit - 1] > longest:
            limit -= 1
        if limit == len(self):
            return limit
        strengths = ((self._strength(after), after) for after in range(limit, first + (limit - first) // 2, -1))
        # The strongest boundary wins, and of equal ones the last, which comes first here.
        return max(strengths, key=lambda each: each[0], default=(0, limit))[1]

    def next_start(self, first: int, after: int, size: ChunkSize) -> int:
        """Return the first word of the next chunk: a sentence start within the overlap, always later than `first`."""
        earliest = max(first + 1, after - size.overlap_words)
        if self._strength(after) == _SECTION:
            return after
        for candidate in range(earliest, after):
            if self._strength(candidate):
                return candidate
        return earliest if not self._strength(after) else after

    def _strength(self, after: int) -> int:
        """Say what ends before word `after`: 3 a section, 2 a paragraph, 1 a sentence, 0 nothing."""
        if after >= len(self) or self.starts[after] in self._breaks:
            return _SECTION
        start, end = self.starts[after - 1], self.ends[after - 1]
        gap = self._text[end : self.starts[after]]
        if gap.count("\n") > 1:
            return 2
        return int(bool(gap) and ("\n" in gap or _SENTENCE_END.search(self._text[start:end]) is not None))


_SECTION = 3
