"""Words among few memories: where a filter lets little through, an index of just that is made for the question.

The store's index would have to score every memory with one of the words first, of which the filter keeps next to none.
"""

from collections.abc import Iterable

import apsw
import msgspec

from ragrid.services.memory.model import Memory, searchable
from ragrid.services.memory.ranking.fusion import Ranked
from ragrid.services.memory.sqlite.files import fetch
from ragrid.services.memory.words import any_of

#: Up to so many memories an index is made for one question: 15 µs each.
FEW = 2000

_decode = msgspec.json.Decoder(Memory).decode
_INDEX = """
CREATE VIRTUAL TABLE few USING fts5 (
  content, tags, data, content = '', tokenize = 'unicode61 remove_diacritics 2'
)
"""
_ADD = "INSERT INTO few (rowid, content, tags, data) VALUES (?, ?, ?, ?)"
_BEST = """
SELECT rowid, -bm25(few, 1.0, 1.0, 0.5) AS score FROM few WHERE few MATCH ? ORDER BY score DESC, rowid DESC LIMIT ?
"""


def best_among(rows: Iterable[tuple[int, bytes]], words: tuple[str, ...], *, limit: int) -> Ranked:
    """Return the best of `(position, document)` by any of `words`."""
    database = apsw.Connection(":memory:")
    try:
        database.execute(_INDEX)
        with database:
            for position, doc in rows:
                database.execute(_ADD, (position, *searchable(_decode(doc))))
        return [(position, score) for position, score in fetch(database, _BEST, (any_of(words), limit))]
    finally:
        database.close()
