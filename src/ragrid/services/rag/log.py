"""The durable ingest log: every document's text and chunks, written before ChromaDB hears of them.

The log is the truth and any vector index can be rebuilt from it. A document is in the index of a collection once all
its chunks are; until then it is pending, and the next ingest of the same file, or a rebuild, goes on where it stopped.
The lexical index lies in the same file and changes in the same transaction. Synchronous; one object serves one thread.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from ragrid.errors import StateError
from ragrid.services.rag.lexical import match_expression

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE documents (
  id TEXT PRIMARY KEY, tenant TEXT NOT NULL, name TEXT NOT NULL, title TEXT NOT NULL, media_type TEXT NOT NULL,
  encoding TEXT NOT NULL, notes TEXT NOT NULL, sha256 TEXT NOT NULL, size_bytes INTEGER NOT NULL,
  characters INTEGER NOT NULL, chunk_count INTEGER NOT NULL, revision TEXT NOT NULL, version INTEGER NOT NULL,
  ingested_at_s REAL NOT NULL, collection TEXT, is_deleted INTEGER NOT NULL DEFAULT 0, UNIQUE (tenant, name)
) STRICT;
CREATE INDEX documents_by_state ON documents (tenant, is_deleted, collection);
-- Apart from its document, so that lists and counts do not read through every page of every text.
CREATE TABLE texts (
  document_id TEXT PRIMARY KEY REFERENCES documents ON DELETE CASCADE, text TEXT NOT NULL
) STRICT;
CREATE TABLE chunks (
  row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, document_id TEXT NOT NULL REFERENCES documents ON DELETE CASCADE,
  tenant_key TEXT NOT NULL, ordinal INTEGER NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL,
  context TEXT NOT NULL, text TEXT NOT NULL, collection TEXT
) STRICT;
CREATE INDEX chunks_of_document ON chunks (document_id, ordinal);
-- The tenant is a word of every chunk, so that the best of one tenant are found without reading those of the others.
CREATE VIRTUAL TABLE words USING fts5 (
  tenant_key, context, text, content='chunks', content_rowid='row', tokenize='porter unicode61 remove_diacritics 2'
);
CREATE TRIGGER chunk_added AFTER INSERT ON chunks BEGIN
  INSERT INTO words (rowid, tenant_key, context, text) VALUES (new.row, new.tenant_key, new.context, new.text);
END;
CREATE TRIGGER chunk_removed AFTER DELETE ON chunks BEGIN
  INSERT INTO words (words, rowid, tenant_key, context, text)
  VALUES ('delete', old.row, old.tenant_key, old.context, old.text);
END;
"""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document; `context` is the title and headings above it."""

    id: str
    document_id: str
    ordinal: int
    start: int
    end: int
    context: str
    text: str


@dataclass(frozen=True, slots=True)
class Document:
    """A document without its text. `collection` is the vector collection that holds all of it, None while pending."""

    id: str
    tenant: str
    name: str
    title: str
    media_type: str
    encoding: str
    notes: str
    sha256: str
    size_bytes: int
    characters: int
    chunk_count: int
    revision: str
    version: int
    ingested_at_s: float
    collection: str | None


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that was found, with the name of its document."""

    chunk: Chunk
    document: str


_DOCUMENT = (
    "id, tenant, name, title, media_type, encoding, notes, sha256, size_bytes, characters, chunk_count, revision, "
    "version, ingested_at_s, collection"
)
_CHUNK = 'c.id, c.document_id, c.ordinal, c.start, c."end", c.context, c.text'


def document_id_of(tenant: str, name: str) -> str:
    """Return the id of a tenant's document: the same for every version of it."""
    return hashlib.sha256(f"{tenant}\0{name}".encode()).hexdigest()[:24]


def tenant_key_of(tenant: str) -> str:
    """Return a tenant as one word of the full-text index, whatever letters its name has."""
    return "t" + hashlib.sha256(tenant.encode()).hexdigest()[:32]


def chunk_id_of(document_id: str, revision: str, ordinal: int) -> str:
    """Return the id of a chunk: the same whenever the same file is cut in the same way."""
    return f"{document_id}-{revision}-{ordinal}"


class IngestLog:
    """One connection to the log."""

    def __init__(self, path: Path) -> None:
        """Open or create the file. Raises StateError when it is not ours, damaged, or of another version."""
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = apsw.Connection(str(path))
            self._prepare()
        except apsw.Error as error:
            raise StateError(
                f"{path}: {error}; wanted an ingest log; restore it from a backup, or move it away and ingest again"
            ) from error

    def _prepare(self) -> None:
        connection = self._connection
        connection.set_busy_timeout(10_000)
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "full")
        connection.pragma("foreign_keys", True)
        with self._transaction():
            version = connection.pragma("user_version")
            if version == 0 and not list(connection.execute("SELECT 1 FROM sqlite_schema")):
                connection.execute(_SCHEMA)
                connection.pragma("user_version", SCHEMA_VERSION)
            elif version != SCHEMA_VERSION:
                raise apsw.SQLError(f"schema version {version}, wanted {SCHEMA_VERSION}")

    def put(self, document: Document, text: str, chunks: Sequence[Chunk]) -> None:
        """Write a document and its chunks in one transaction, in place of any older version; durable on return."""
        columns = _DOCUMENT.split(", ")
        tenant_key = tenant_key_of(document.tenant)
        values = tuple(getattr(document, name) for name in columns)
        with self._transaction():
            self._connection.execute("DELETE FROM chunks WHERE document_id = ?", (document.id,))
            self._connection.execute(
                f"INSERT OR REPLACE INTO documents ({_DOCUMENT}) "  # noqa: S608 - our own column names
                f"VALUES ({', '.join('?' * len(values))})",
                values,
            )
            self._connection.execute("INSERT OR REPLACE INTO texts VALUES (?, ?)", (document.id, text))
            self._connection.executemany(
                'INSERT INTO chunks (id, document_id, tenant_key, ordinal, start, "end", context, text) '
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (each.id, document.id, tenant_key, each.ordinal, each.start, each.end, each.context, each.text)
                    for each in chunks
                ),
            )

    def find(self, tenant: str, document_id: str) -> Document | None:
        """Return a document of `tenant`, or None."""
        return next(self._documents("tenant = ? AND id = ? AND NOT is_deleted", (tenant, document_id)), None)

    def last_version(self, document_id: str) -> int:
        """Return the version of a document, also of one whose deletion is under way; 0 when there was none."""
        rows = self._rows("SELECT version FROM documents WHERE id = ?", (document_id,))
        return next((int(row[0]) for row in rows), 0)

    def text_of(self, tenant: str, document_id: str) -> str | None:
        """Return the stored plain text, which all offsets count in, or None."""
        statement = (
            "SELECT t.text FROM texts t JOIN documents d ON d.id = t.document_id WHERE d.tenant = ? AND d.id = ?"
        )
        rows = self._rows(statement, (tenant, document_id))
        return next((str(row[0]) for row in rows), None)

    def page(self, tenant: str, *, prefix: str, after: str, limit: int) -> list[Document]:
        """Return up to `limit` documents in order of name whose name begins with `prefix` and follows `after`."""
        where = "tenant = ? AND name > ? AND substr(name, 1, length(?)) = ? AND NOT is_deleted ORDER BY name LIMIT ?"
        return list(self._documents(where, (tenant, after, prefix, prefix, limit)))

    def document_ids(self, tenant: str) -> list[str]:
        """Return the ids of all documents of a tenant, in order of name."""
        rows = self._rows("SELECT id FROM documents WHERE tenant = ? AND NOT is_deleted ORDER BY name", (tenant,))
        return [str(row[0]) for row in rows]

    def unindexed_chunks(self, document_id: str, collection: str, limit: int) -> list[Chunk]:
        """Return the first chunks of a document that `collection` does not hold yet."""
        rows = self._rows(
            f"SELECT {_CHUNK} FROM chunks c WHERE document_id = ? AND collection IS NOT ? "  # noqa: S608 - own names
            "ORDER BY ordinal LIMIT ?",
            (document_id, collection, limit),
        )
        return [Chunk(*row) for row in rows]

    def mark_chunks(self, chunks: Sequence[Chunk], collection: str) -> None:
        """Note that `collection` holds these chunks."""
        with self._transaction():
            self._connection.executemany(
                "UPDATE chunks SET collection = ? WHERE id = ?", ((collection, chunk.id) for chunk in chunks)
            )

    def mark_document(self, document: Document, collection: str) -> bool:
        """Note that `collection` holds all of this revision; False when the document has changed meanwhile."""
        with self._transaction():
            self._connection.execute(
                "UPDATE documents SET collection = ? WHERE id = ? AND revision = ? AND NOT is_deleted",
                (collection, document.id, document.revision),
            )
            return bool(self._connection.changes())

    def forget_index(self, tenant: str) -> None:
        """Make every document of a tenant pending, because its vectors are gone."""
        with self._transaction():
            self._connection.execute("UPDATE documents SET collection = NULL WHERE tenant = ?", (tenant,))
            self._connection.execute(
                "UPDATE chunks SET collection = NULL WHERE tenant_key = ?", (tenant_key_of(tenant),)
            )

    def delete(self, document_id: str) -> None:
        """Take a document out of every answer now; its id is kept until `purge`, since its vectors may be left."""
        with self._transaction():
            self._connection.execute("DELETE FROM chunks WHERE document_id = ?", (document_id,))
            self._connection.execute("DELETE FROM texts WHERE document_id = ?", (document_id,))
            self._connection.execute("UPDATE documents SET is_deleted = 1 WHERE id = ?", (document_id,))

    def deleted(self, tenant: str) -> list[str]:
        """Return the ids of documents whose vectors may be left over."""
        return [str(r[0]) for r in self._rows("SELECT id FROM documents WHERE tenant = ? AND is_deleted", (tenant,))]

    def purge(self, document_id: str) -> None:
        """Forget a deleted document once its vectors are gone; one that was ingested again meanwhile stays."""
        with self._transaction():
            self._connection.execute("DELETE FROM documents WHERE id = ? AND is_deleted", (document_id,))

    def search(self, tenant: str, question: str, limit: int) -> list[Hit]:
        """Return the chunks of `tenant` that share words with `question`, the best first (BM25)."""
        expression = match_expression(question)
        if not expression:
            return []
        wanted = f'tenant_key: "{tenant_key_of(tenant)}" AND {{context text}}: ({expression})'
        # The best are chosen inside the index; only they are read. Its first column, the tenant, has no weight.
        rows = self._rows(
            f"SELECT {_CHUNK}, d.name FROM ("  # noqa: S608 - own names
            "  SELECT rowid, bm25(words, 0.0, 1.0, 1.0) AS distance FROM words WHERE words MATCH ? "
            "  ORDER BY distance, rowid LIMIT ?"
            ") AS best JOIN chunks c ON c.row = best.rowid JOIN documents d ON d.id = c.document_id "
            "ORDER BY best.distance, c.row",
            (wanted, limit),
        )
        return [Hit(Chunk(*row[:7]), str(row[7])) for row in rows]

    def hits(self, tenant: str, chunk_ids: Sequence[str]) -> Mapping[str, Hit]:
        """Return those of the chunks that exist and belong to `tenant`, by id."""
        marks = ", ".join("?" * len(chunk_ids))
        rows = self._rows(
            f"SELECT {_CHUNK}, d.name FROM chunks c JOIN documents d ON d.id = c.document_id "  # noqa: S608 - own names
            f"WHERE d.tenant = ? AND c.id IN ({marks})",
            (tenant, *chunk_ids),
        )
        return {str(row[0]): Hit(Chunk(*row[:7]), str(row[7])) for row in rows}

    def is_complete(self, tenant: str, collection: str) -> bool:
        """Say whether `collection` holds every document of `tenant`."""
        where = "SELECT 1 FROM documents WHERE tenant = ? AND collection IS NOT ? AND NOT is_deleted LIMIT 1"
        return not self._rows(where, (tenant, collection))

    def counts(self) -> tuple[int, int, int]:
        """Return how many documents, chunks and pending documents there are, over all tenants."""
        (row,) = self._rows(
            "SELECT count(*), coalesce(sum(chunk_count), 0), coalesce(sum(collection IS NULL), 0) "
            "FROM documents WHERE NOT is_deleted",
            (),
        )
        return int(row[0]), int(row[1]), int(row[2])

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _documents(self, where: str, values: Sequence[Any]) -> Iterator[Document]:
        rows = self._rows(f"SELECT {_DOCUMENT} FROM documents WHERE {where}", values)  # noqa: S608 - our own text
        return (Document(*row) for row in rows)

    def _rows(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        return list(self._connection.execute(statement, tuple(values)))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, with the write lock from the start, so that it waits instead of failing half-way."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
