"""Which memories may be among the best for a question, told from which of its words they hold. Pure.

A memory that holds words worth more, by their rarity, mostly stands above one that holds words worth less. So there are
levels: at the first one, a memory holds all words of the question; at the last one, any. How many reach a level can be
told from how common the words are, before anything is read; and an index intersects words in a fraction of the time
that scoring what it finds takes. This is the weak conjunction of Broder, Carmel, Herscovici, Soffer and Zien (Efficient
query evaluation using a two-level retrieval process, CIKM 2003), written as one expression.
"""

import math
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

#: What bm25 makes of a word that half of all memories hold, or more: next to nothing.
LEAST_RARITY = 1e-6
#: Sums of the same rarities differ by as much as this when they are added up in another order.
_ROUNDING = 1e-9


class Word(NamedTuple):
    """A word of a question, and as it is written in an expression; `share`: how many of all hold it, 0 to 1."""

    text: str
    written: str
    rarity: float
    share: float


class Level(NamedTuple):
    """Memories whose words are worth `least` or more; `share`: how many of all those are, if words went by chance."""

    least: float
    share: float


def rarity(rows: int, holding: int) -> float:
    """Return what a word is worth that `holding` of `rows` memories hold, as FTS5's bm25 has it; always above 0."""
    odds = (rows - holding + 0.5) / (holding + 0.5)
    return max(math.log(odds), LEAST_RARITY) if odds > 0 else LEAST_RARITY


def levels(words: Sequence[Word]) -> list[Level]:
    """Return the levels of `words` (a few: there are two to their number), the highest first."""
    shares: dict[float, float] = {}
    for holds in product((True, False), repeat=len(words)):
        if any(holds):
            worth = round(sum(word.rarity for word, held in zip(words, holds, strict=True) if held), 6)
            chance = math.prod(w.share if held else 1 - w.share for w, held in zip(words, holds, strict=True))
            shares[worth] = shares.get(worth, 0.0) + chance
    found: list[Level] = []
    for worth in sorted(shares, reverse=True):
        found.append(Level(worth - 1e-6, shares[worth] + (found[-1].share if found else 0.0)))
    return found


def expression(words: Sequence[Word], least: float, *, both: str = " AND ", either: str = " OR ") -> str | None:
    """Return the expression for any of the sets of `words` that are worth `least`, above 0; None when none is."""
    if sum(word.rarity for word in words) < least - _ROUNDING:
        return None
    first, others = words[0], words[1:]
    without = expression(others, least, both=both, either=either) if others else None
    if first.rarity >= least - _ROUNDING:
        beside: str | None = first.written
    else:
        rest = expression(others, least - first.rarity, both=both, either=either)
        beside = None if rest is None else f"({first.written}{both}{rest})"
    if beside is None or without is None:
        return beside or without
    return f"({beside}{either}{without})"
