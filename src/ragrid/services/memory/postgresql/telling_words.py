"""Which words of a question to look for, and how much each tells. Pure.

A word that is in thousands of memories tells them apart hardly at all, and to score all of them would take most of a
search's time.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

#: Memories that the words of one search may be in, all together. In a namespace with fewer, every word is looked for.
BUDGET = 3000

#: How many memories hold each word; more than the budget are not counted further.
COUNTS = f"""
SELECT one.word, c.holding, n.rows, greatest(n.words::float8 / greatest(n.rows, 1), 1) AS mean
FROM namespace AS n CROSS JOIN unnest($3::text[]) AS one (word) CROSS JOIN LATERAL (
  SELECT count(*) AS holding FROM (
    SELECT FROM memory_words AS h WHERE h.words @@ one.word::tsquery LIMIT {BUDGET + 1}
  ) AS counted
) AS c
WHERE n.tenant = $1 AND n.name = $2
"""  # noqa: S608 - our own words


class Count(NamedTuple):
    """A lexeme, and how many memories hold it."""

    lexeme: str
    holding: int


class Asked(NamedTuple):
    """What is looked for: lexemes, how rare each is (as bm25 has it, above 0), and the mean length of a memory."""

    lexemes: list[str]
    rarities: list[float]
    mean: float


def telling(counts: Sequence[Count], rows: int, mean: float) -> Asked:
    """Return the rarest words whose memories are within the budget, and always the rarest one, of `rows` memories."""
    rarest = sorted((one for one in counts if one.holding), key=lambda one: (one.holding, one.lexeme))
    kept = rarest
    if rows > BUDGET:
        kept, room = rarest[:1], BUDGET - sum(one.holding for one in rarest[:1])
        for one in rarest[1:]:
            room -= one.holding
            if room < 0:
                break
            kept.append(one)
    rarities = [math.log1p((max(rows - one.holding, 0) + 0.5) / (one.holding + 0.5)) for one in kept]
    return Asked([one.lexeme for one in kept], rarities, mean)
