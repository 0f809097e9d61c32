"""The best memories for the words of a question, by bm25: in a small store every one that holds a word is scored, in a
large one those that hold the words worth most.
"""

from collections.abc import Sequence
from typing import Any

import apsw
import msgspec

from ragrid.services.memory.model import Memory, searchable
from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.ranking.bm25 import Scorer, open_tokenizer
from ragrid.services.memory.ranking.documents import best_among
from ragrid.services.memory.ranking.fusion import Ranked
from ragrid.services.memory.sqlite.asked import Asked, seen
from ragrid.services.memory.sqlite.files import fetch
from ragrid.services.memory.sqlite.first_look import FirstLook, Place, Rarities
from ragrid.services.memory.sqlite.nearest import FIRST_LOOK
from ragrid.services.memory.sqlite.queries import list_statement
from ragrid.services.memory.sqlite.word_counts import WordCounts
from ragrid.services.memory.sqlite.word_statements import index_statement, words_statement
from ragrid.services.memory.words import any_of

#: Where a filter keeps no more than so many memories, an index of just them is made for the question, 20 µs each; the
#: store's index would have to score every memory with one of the words first, of which the filter keeps next to none.
FEW = 2000
#: Tokens of our own in the full-text index, for each memory: its namespace, and what it says (see index_words.py).
_OWN_TOKENS = 2

_ROWS = "SELECT rows FROM namespace WHERE id = ?"
#: All in one answer: each row that is handed over waits for the interpreter.
_DOCUMENTS = "'[' || group_concat('[' || m.position || ',' || CAST(m.doc AS TEXT) || ']') || ']', NULL"
_decode_documents = msgspec.json.Decoder(list[tuple[int, Memory]]).decode


class Limits(msgspec.Struct, frozen=True):
    """When all that hold a word are scored: in a store of up to `small` memories, and when up to `exact` hold one.

    It is 1 µs for each, and as much again for each memory of the store. Else the some `to_score` that hold the words
    worth most are, 15 µs each.
    """

    small: int = 5000
    exact: int = 5000
    to_score: int = 200


class WordSearch:
    """Searches one store by words; used from several reader threads."""

    def __init__(self, limits: Limits | None = None, counts: WordCounts | None = None) -> None:
        self._limits = limits or Limits()
        self._counts = counts or WordCounts()

    def best(self, reader: apsw.Connection, namespace: int, asked: Asked) -> Ranked:
        """Return the `asked.pool` best, best first, the newer first among equals."""
        size = self._counts.size(reader, namespace)
        place = Place(namespace, fetch(reader, _ROWS, (namespace,))[0][0], size)
        if size.rows > self._limits.small:
            rarities = Rarities(asked.query, self._counts.holding(reader, asked.query), size)
            found = self._best_of_telling(reader, place, asked, rarities) if rarities.telling else None
            if found is not None:
                return found
        return _every(reader, place, asked)

    def _best_of_telling(
        self, reader: apsw.Connection, place: Place, asked: Asked, rarities: Rarities
    ) -> Ranked | None:
        """Return the best of those that hold words that tell any apart; None when they are too few, and not all."""
        is_all = len(rarities.telling) == len(asked.query)
        if rarities.holding <= self._limits.exact and place.is_most:
            match = place.match(any_of(tuple(word.text for word in rarities.telling)))
            found = _best_of_index(reader, place.namespace, match, asked)
            if found is None:
                found = _best_of_few(reader, place.namespace, asked)
                return found or _joined(reader, place.namespace, match, asked)
            return found if is_all or len(found) >= asked.limit else None
        look = FirstLook(reader, place, rarities, asked, self._limits.to_score)
        scorer = Scorer(asked.query, rarities.worth, place.size.mean, open_tokenizer())
        # What a filter keeps may be so little that it is better asked first, and so much that it is not.
        for is_patient in (False, True) if asked.wanted != Filter() else (True,):
            positions = look.positions(is_patient=is_patient)
            if positions is None:
                return _joined(reader, place.namespace, look.highest, asked)
            found = _scored(reader, positions, place.namespace, asked, scorer)
            if len(found) >= asked.limit or (is_all and look.is_complete):
                return found
            few = None if is_patient else _best_of_few(reader, place.namespace, asked)
            if few is not None:
                return few
        return None


def _every(reader: apsw.Connection, place: Place, asked: Asked) -> Ranked:
    """Return the best of all that hold any word."""
    match = place.match(any_of(asked.query))
    found = _best_of_index(reader, place.namespace, match, asked)
    if found is None:
        found = _best_of_few(reader, place.namespace, asked)
    return _joined(reader, place.namespace, match, asked) if found is None else found


def _best_of_index(reader: apsw.Connection, namespace: int, match: str, asked: Asked) -> Ranked | None:
    """Return the best that may be seen of what the index alone thinks best; None when that is not enough to tell."""
    size = FIRST_LOOK * asked.pool
    best_of_index = fetch(reader, *index_statement(match, limit=size))
    there = dict(seen(reader, namespace, [position for position, _ in best_of_index], asked, columns="m.position, 1"))
    kept = [(position, score) for position, score in best_of_index if position in there]
    is_enough = len(kept) >= asked.pool or len(best_of_index) < size
    return kept[: asked.pool] if is_enough else None


def _best_of_few(reader: apsw.Connection, namespace: int, asked: Asked) -> Ranked | None:
    """Return the best of all that the filter lets through; None when that is much."""
    if asked.wanted == Filter():
        return None
    rows = fetch(reader, *list_statement(namespace, asked.wanted, now_us=asked.now_us, limit=FEW + 1, before=None))
    if len(rows) > FEW:
        return None
    if not asked.ranking.include_superseded:
        there = dict(seen(reader, namespace, [position for position, _ in rows], asked, columns="m.position, 1"))
        rows = [row for row in rows if row[0] in there]
    return best_among(rows, asked.query, limit=asked.pool)


def _joined(reader: apsw.Connection, namespace: int, match: str, asked: Asked) -> Ranked:
    """Return the best of all that the index finds and that may be seen."""
    statement = words_statement(
        namespace,
        match,
        asked.wanted,
        now_us=asked.now_us,
        limit=asked.pool,
        include_superseded=asked.ranking.include_superseded,
    )
    return [(position, score) for position, score in fetch(reader, *statement)]


def _scored(reader: apsw.Connection, positions: Sequence[int], namespace: int, asked: Asked, scorer: Scorer) -> Ranked:
    """Return the best of `positions` that may be seen."""
    documents: Any = seen(reader, namespace, positions, asked, columns=_DOCUMENTS)[0][0]
    if documents is None:
        return []
    scores = [
        (scorer.score(searchable(memory), beside=_OWN_TOKENS), position)
        for position, memory in _decode_documents(documents)
    ]
    return [(position, score) for score, position in sorted(scores, reverse=True)[: asked.pool]]
