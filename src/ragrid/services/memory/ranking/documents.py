"""Documents that no index holds, filtered and ranked by their words: an index of just them is made for the question."""

from collections.abc import Iterable, Sequence
from typing import Any

import apsw
import msgspec

from ragrid.services.memory.filters.evaluate import meets
from ragrid.services.memory.model import Memory, searchable
from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.protocol.search import Hit
from ragrid.services.memory.ranking.facts import facts_of
from ragrid.services.memory.ranking.fusion import Ranked, Ranking, adjust, fuse
from ragrid.services.memory.words import any_of

_decode = msgspec.json.Decoder(Memory).decode
_decode_any = msgspec.json.Decoder().decode
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
        found: list[Any] = database.execute(_BEST, (any_of(words), limit)).fetchall()
        return [(position, score) for position, score in found]
    finally:
        database.close()


def rank_documents(
    docs: Sequence[bytes], wanted: Filter, words: tuple[str, ...], ranking: Ranking, *, limit: int
) -> tuple[Hit, ...]:
    """Return the best of `docs` that lie within the filter; recency is counted up to `ranking.as_of_us`."""
    kept = {n: doc for n, doc in enumerate(docs) if _is_wanted(doc, wanted, ranking)}
    if not words or not kept:
        return ()
    found = fuse(best_among(kept.items(), words, limit=len(kept)), None)
    facts = {} if ranking.is_plain else {one.position: facts_of(kept[one.position]) for one in found}
    best = adjust(found, facts, ranking, now_us=ranking.as_of_us or 0)[:limit]
    return tuple(Hit(min(one.score, 1.0), kept[one.position], one.explanation) for one in best)


def _is_wanted(doc: bytes, wanted: Filter, ranking: Ranking) -> bool:
    document = _decode_any(doc)
    if document.get("superseded_by") is not None and not ranking.include_superseded:
        return False
    if wanted.where is not None and not meets(document, wanted.where):
        return False
    plain = ("type", "user_id", "agent_id", "session_id")
    return set(wanted.tags) <= set(document["tags"]) and all(
        getattr(wanted, name) in (None, document[name]) for name in plain
    )
