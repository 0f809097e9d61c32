"""Two ranked lists become one, and time and importance have their say. Pure.

A convex combination of scores, each relative to the best of its list. Ranks alone (reciprocal rank fusion) would not
tell a question for a name, where one memory holds the word and stands far above the others, from one for a meaning,
where a hundred are almost alike. See Bruch, Gai and Ingber, ACM TOIS 42 (2023), and `scripts/measure-memory-search`.
"""

from collections.abc import Mapping, Sequence

import msgspec

#: What the list of words says, against what the list of meanings says; together 1. Chosen among 0.5, 0.55, …, 0.7 on
#: half of the headings and names of a manual, where neither may lose much; docs/memory-figures.md has the other half.
LEXICAL_WEIGHT = 0.4
SEMANTIC_WEIGHT = 0.6
#: Memories that each list brings into the fusion: at least these, and this many times what is asked for.
POOL = 100
POOL_FACTOR = 3

Ranked = Sequence[tuple[int, float]]


class Ranking(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks of the order.

    `half_life_s`: seconds since its last change after which a memory counts half. `importance_weight`: from 0 (no
    matter) to 1 (a memory of importance 0 counts nothing). What scores under `min_score` is left out.
    """

    half_life_s: float | None = None
    importance_weight: float = 0.0
    min_score: float = 0.0
    include_superseded: bool = False
    as_of_us: int | None = None

    @property
    def is_plain(self) -> bool:
        """Neither time nor importance changes the order."""
        return self.half_life_s is None and not self.importance_weight


#: By relevance alone.
PLAIN = Ranking()


class Facts(msgspec.Struct, frozen=True):
    """What the order may depend on beside the lists."""

    updated_us: int
    importance: float


class Explanation(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a score comes from. Ranks count from 1; a list that does not hold the memory has none.

    `bm25` is relative to the best; `similarity` is the cosine; `recency` and `importance` are factors.
    """

    lexical_rank: int | None = None
    bm25: float | None = None
    semantic_rank: int | None = None
    similarity: float | None = None
    fused: float | None = None
    recency: float | None = None
    importance: float | None = None


class Scored(msgspec.Struct, frozen=True):
    """One memory in the final order."""

    position: int
    score: float
    explanation: Explanation


def pool_size(limit: int) -> int:
    """Return how many memories each list should bring when `limit` are asked for."""
    return max(POOL, POOL_FACTOR * limit)


def fuse(lexical: Ranked | None, semantic: Ranked | None, *, pool: int = POOL) -> list[Scored]:
    """Return the memories of both lists by fused score, best first; newer positions first among equals.

    Each list is best first, with scores above 0; None stands for a list that was not asked for. One list alone keeps
    its scores: relative to the best for words, the cosine for meanings. A memory that a list does not hold counts
    nothing there, or as its last one when the list was cut at `pool`. The best fused score that there can be is 1.
    """
    words, meanings = _List(lexical or (), pool), _List(semantic or (), pool)
    is_both = lexical is not None and semantic is not None
    found: list[Scored] = []
    for position in words.places.keys() | meanings.places.keys():
        lexical_rank, bm25 = words.places.get(position, (None, None))
        semantic_rank, similarity = meanings.places.get(position, (None, None))
        relative = None if bm25 is None else bm25 / words.best
        fused = None
        if is_both:
            fused = LEXICAL_WEIGHT * words.relative(bm25) + SEMANTIC_WEIGHT * meanings.relative(similarity)
        score = fused or relative or similarity or 0.0
        explanation = Explanation(lexical_rank, relative, semantic_rank, similarity, fused)
        found.append(Scored(position, score, explanation))
    found.sort(key=lambda one: (-one.score, -one.position))
    return found


def adjust(found: Sequence[Scored], facts: Mapping[int, Facts], ranking: Ranking, *, now_us: int) -> list[Scored]:
    """Return what stays of `found` in the order that `ranking` asks for; `facts` must know each unless it is plain."""
    if not ranking.is_plain:
        found = [_adjusted(one, facts[one.position], ranking, now_us) for one in found]
    kept = [one for one in found if one.score > 0 and one.score >= ranking.min_score]
    kept.sort(key=lambda one: (-one.score, -one.position))
    return kept


def _adjusted(one: Scored, facts: Facts, ranking: Ranking, now_us: int) -> Scored:
    recency = None
    if ranking.half_life_s is not None:
        age_s = max(0.0, (now_us - facts.updated_us) / 1_000_000)
        recency = 0.5 ** (age_s / ranking.half_life_s)
    importance = None
    if ranking.importance_weight:
        importance = 1.0 - ranking.importance_weight * (1.0 - facts.importance)
    score = one.score * (1.0 if recency is None else recency) * (1.0 if importance is None else importance)
    explanation = msgspec.structs.replace(one.explanation, recency=recency, importance=importance)
    return Scored(one.position, score, explanation)


class _List:
    """A ranked list, and what it says of a memory that it does not hold."""

    def __init__(self, ranked: Ranked, pool: int) -> None:
        self.places: dict[int, tuple[int | None, float | None]] = {
            position: (rank, score) for rank, (position, score) in enumerate(ranked, start=1)
        }
        self.best = ranked[0][1] if ranked else 1.0
        self._missing = ranked[-1][1] if len(ranked) >= pool else 0.0

    def relative(self, score: float | None) -> float:
        """Return a score, or what stands for a missing one, relative to the best."""
        return (self._missing if score is None else score) / self.best
