"""Which memories of a large store to score for a question: those that hold the words worth most, told by the full-text
index alone.
"""

import apsw
import msgspec

from ragrid.services.memory.ranking.quorum import LEAST_RARITY, Level, Word, expression, levels, rarity
from ragrid.services.memory.sqlite.asked import Asked
from ragrid.services.memory.sqlite.files import fetch
from ragrid.services.memory.sqlite.index_words import scope_word
from ragrid.services.memory.sqlite.word_counts import IndexSize
from ragrid.services.memory.sqlite.word_statements import positions_statement
from ragrid.services.memory.words import any_of, within

#: The rarest words of a question say who is looked at; the others have their say in the score.
DECIDING = 6
#: As many are scored, at least, as this many times what is wanted.
ENOUGH = 3
#: When words go together more often than by chance, up to this many times what was meant to be scored is.
_MOST = 4

_decode_positions = msgspec.json.Decoder(list[int]).decode


class Place(msgspec.Struct, frozen=True):
    """Where to look: a namespace with `rows` memories in an index of `size`."""

    namespace: int
    rows: int
    size: IndexSize

    @property
    def is_most(self) -> bool:
        """Half of the index or more is this namespace.

        Then it is asked for the words alone, and what it finds for its namespace; else it keeps to the namespace
        itself, for which it walks through all of that.
        """
        return 2 * self.rows >= self.size.rows

    def match(self, expression_of_words: str) -> str:
        """Return what to ask the index."""
        return within(expression_of_words, None if self.is_most else scope_word(self.namespace))


class Rarities:
    """The words of a question, what each is worth, and how many memories hold one of those that tell any apart."""

    def __init__(self, words: tuple[str, ...], holding: list[int], size: IndexSize) -> None:
        self.words = words
        self.worth = [rarity(size.rows, count) for count in holding]
        told = [
            (count, Word(word, any_of((word,)), worth, min(count / max(size.rows, 1), 1.0)))
            for count, word, worth in zip(holding, words, self.worth, strict=True)
            if worth > LEAST_RARITY
        ]
        #: Those that fewer than half of all memories hold, the rarest first.
        self.telling = tuple(word for _, word in sorted(told, key=lambda one: one[0]))
        self.holding = sum(count for count, _ in told)


class FirstLook:
    """Looks for the lowest level (see ranking/quorum.py) that not too many memories reach."""

    def __init__(self, reader: apsw.Connection, place: Place, rarities: Rarities, asked: Asked, to_score: int) -> None:
        self._reader = reader
        self._place = place
        self._asked = asked
        self._words = rarities.telling[:DECIDING]
        self._decide_all = len(self._words) == len(rarities.telling)
        self._levels = levels(self._words)
        self._enough = ENOUGH * asked.pool
        self._goal = max(to_score, self._enough)
        self._most = _MOST * self._goal
        #: The last `positions` were all memories that hold any word that tells them apart, and not only the best.
        self.is_complete = False

    @property
    def highest(self) -> str:
        """Return what to ask the index for those that hold all of the words that decide."""
        return self._match(self._levels[0])

    def positions(self, *, is_patient: bool) -> list[int] | None:
        """Return the memories to score, all within the filter; None when too many hold all words.

        Where the first level tried has too few of them, lower ones follow if `is_patient`. Of a level that too many
        reach although those above it have too few, the newest are taken.
        """
        self.is_complete = False
        few: list[int] = []
        many: list[int] = []
        above, below = -1, len(self._levels)  # the places last found to have too few, and too many
        place = self._lowest(self._goal)
        while below - above > 1:
            place = min(max(place, above + 1), below - 1)
            reaching = self._reaching(self._levels[place])
            if len(reaching) > self._most:
                many, below = reaching, place
                place = self._lowest(self._goal * self._expected(place) / len(reaching))
            elif len(reaching) >= self._enough or not is_patient:
                self.is_complete = self._decide_all and place == len(self._levels) - 1
                return reaching
            else:
                few, above = reaching, place
                place = self._lowest(4 * max(self._expected(place), 1.0))
        self.is_complete = self._decide_all and above == len(self._levels) - 1
        return None if below == 0 else sorted({*few, *many[: self._most - len(few)]})

    def _expected(self, place: int) -> float:
        return self._levels[place].share * self._place.rows

    def _lowest(self, most: float) -> int:
        """Return the lowest level that no more than `most` memories reach by chance, or the first."""
        return max((place for place in range(len(self._levels)) if self._expected(place) <= most), default=0)

    def _match(self, level: Level) -> str:
        written = expression(self._words, level.least)
        if written is None:
            raise AssertionError("a level is what some of the words are worth together")
        return self._place.match(written)

    def _reaching(self, level: Level) -> list[int]:
        statement = positions_statement(
            self._place.namespace,
            self._match(level),
            self._asked.wanted,
            now_us=self._asked.now_us,
            limit=self._most + 1,
            include_superseded=self._asked.ranking.include_superseded,
        )
        return _decode_positions(fetch(self._reader, *statement)[0][0])
