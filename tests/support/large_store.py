"""A store file of the first schema with any number of memories in it, as its release would have left it behind.

`python tests/support/large_store.py DIRECTORY COUNT` makes one to measure a migration by.
"""

import gzip
import json
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw

FIRST = Path(__file__).parent.parent / "component" / "memory" / "released" / "schema-1.db.gz"
#: Where the added memories lie: the first namespace of the released file.
NAMESPACE, NUMBER = "default", 1
MADE_US, MADE_AT = 1_800_000_000_000_000, "2027-01-15T08:00:00Z"

_MEMORY = "INSERT INTO memory VALUES (?, ?, ?, 1, ?, 'semantic', NULL, NULL, NULL, ?, 'alice', NULL, 0, ?)"
_EVENT = "INSERT INTO memory_event VALUES (?, ?, ?, 1, 'create', 'alice', ?, ?)"
_WORDS = "INSERT INTO memory_fts (rowid, scope, content, tags, data) VALUES (?, ?, ?, '', '')"


def make_large_store(directory: Path, count: int) -> None:
    """Lay the released file of the first schema into `directory`, with `count` more memories, `many-0` and so on."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = directory / "memory.db"
    path.write_bytes(gzip.decompress(FIRST.read_bytes()))
    with closing(apsw.Connection(str(path))) as database, database:
        row: Any = database.execute("SELECT value FROM counter WHERE name = 'seq'").fetchone()
        first = int(row[0]) + 1
        for statement, rows in ((_MEMORY, _memories), (_EVENT, _events), (_WORDS, _words)):
            database.executemany(statement, rows(first, count))
        database.execute("UPDATE counter SET value = value + ?", (count,))


def content_of(number: int) -> str:
    """Return what the memory `many-{number}` says: about 100 characters."""
    return f"fact {number} of shelf{number % 997}, which somebody wrote down in room{number % 89} " + "and kept " * 4


def _document(number: int, seq: int) -> bytes:
    document: dict[str, Any] = {
        "id": f"many-{number}", "namespace": NAMESPACE, "type": "semantic", "content": content_of(number), "data": {},
        "user_id": None, "agent_id": None, "session_id": None, "tags": [], "metadata": {}, "importance": 0.5,
        "source": None, "valid_from": None, "valid_to": None, "pinned": False, "expires_at": None, "version": 1,
        "seq": seq, "created_at": MADE_AT, "created_by": "alice", "updated_at": MADE_AT, "updated_by": "alice",
    }  # fmt: skip
    return json.dumps(document, separators=(",", ":")).encode()


def _memories(first: int, count: int) -> Iterator[tuple[Any, ...]]:
    for number in range(count):
        seq = first + number
        yield seq, NUMBER, f"many-{number}", seq, MADE_US, _document(number, seq)


def _events(first: int, count: int) -> Iterator[tuple[Any, ...]]:
    for number in range(count):
        seq = first + number
        yield seq, NUMBER, f"many-{number}", MADE_US, _document(number, seq)


def _words(first: int, count: int) -> Iterator[tuple[Any, ...]]:
    for number in range(count):
        yield first + number, f"n{NUMBER}", content_of(number)


if __name__ == "__main__":
    make_large_store(Path(sys.argv[1]), int(sys.argv[2]))
