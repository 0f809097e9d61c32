"""The score of a memory for the words of a question, as FTS5's `bm25` counts it. Pure, but for the tokenizer.

See https://www.sqlite.org/fts5.html#the_bm25_function. FTS5 itself counts the memories that hold each word anew for
every question, which takes as long as walking through them; here the counts come in, and may be remembered.
"""

from collections.abc import Callable, Sequence
from typing import cast

import apsw

from ragrid.services.memory.ranking.quorum import LEAST_RARITY

_K1 = 1.2
_B = 0.75
#: What a word weighs in the content, the tags and the data.
WEIGHTS = (1.0, 1.0, 0.5)

Tokens = list[str]


def open_tokenizer() -> Callable[[str], Tokens]:
    """Return what cuts a text as the full-text index does. For one thread."""
    made = apsw.Connection(":memory:").fts5_tokenizer("unicode61", ["remove_diacritics", "2"])

    def tokens(text: str) -> Tokens:
        cut = made(text.encode(), apsw.FTS5_TOKENIZE_DOCUMENT, None, include_offsets=False, include_colocated=False)
        return cast("Tokens", cut)  # strings alone, as asked for

    return tokens


class Scorer:
    """Scores texts for words, of which `rarities` tells how much each is worth, among texts `mean` tokens long."""

    def __init__(
        self, words: Sequence[str], rarities: Sequence[float], mean: float, tokens: Callable[[str], Tokens]
    ) -> None:
        self._tokens = tokens
        self._mean = mean
        self._single: dict[str, float] = {}
        self._phrases: list[tuple[Tokens, float]] = []
        for word, worth in zip(words, rarities, strict=True):
            cut = tokens(word)
            if len(cut) == 1:  # two words may be one token, such as with an accent and without: both count, as in FTS5
                self._single[cut[0]] = self._single.get(cut[0], 0.0) + worth
            elif cut:
                self._phrases.append((cut, worth))

    def score(self, texts: Sequence[str], *, beside: int = 0) -> float:
        """Return the score of content, tags and data; `beside`: tokens that count for the length alone."""
        length = beside
        held: dict[str, float] = {}
        phrases = [0.0] * len(self._phrases)
        for text, weight in zip(texts, WEIGHTS, strict=True):
            if not text:
                continue
            tokens = self._tokens(text)
            length += len(tokens)
            for token in tokens:
                if token in self._single:
                    held[token] = held.get(token, 0.0) + weight
            for number, (phrase, _) in enumerate(self._phrases):
                phrases[number] += weight * _times(phrase, tokens)
        damping = _K1 * (1 - _B + _B * length / self._mean)
        score = sum(
            self._single[token] * times * (_K1 + 1) / (times + damping) for token, times in sorted(held.items())
        )
        for (_, worth), times in zip(self._phrases, phrases, strict=True):
            score += worth * times * (_K1 + 1) / (times + damping)
        return score or LEAST_RARITY


def _times(phrase: Tokens, tokens: Tokens) -> int:
    size = len(phrase)
    return sum(1 for start in range(len(tokens) - size + 1) if tokens[start : start + size] == phrase)
