"""The store as a decision sees it from inside the writer's transaction."""

from collections.abc import Mapping

from ragrid.services.memory.changes import Scope, Stored
from ragrid.services.memory.embedding.sources import in_use
from ragrid.services.memory.ground import Remembered
from ragrid.services.memory.namespaces import EMPTY, Room
from ragrid.services.memory.sqlite.index_words import twin_word
from ragrid.services.memory.sqlite.transaction import Transaction
from ragrid.services.memory.sqlite.writing.versions import current_of

_DOCUMENT = "SELECT doc FROM memory_version WHERE namespace = ? AND id = ? AND version = ?"
_TWIN = """
SELECT m.id FROM memory_fts AS f CROSS JOIN memory AS m ON m.position = f.rowid
WHERE memory_fts MATCH ? AND m.namespace = ? AND m.is_deleted = 0 AND m.superseded_by IS NULL
  AND (m.expires_us IS NULL OR m.expires_us > ?)
ORDER BY f.rowid DESC LIMIT 1
"""
_REMEMBERED = """
SELECT i.fingerprint, e.id, e.version, e.doc, i.is_new
FROM idempotency AS i JOIN memory_version AS e ON e.seq = i.seq JOIN namespace AS n ON n.id = e.namespace
WHERE n.is_gone = 0 AND i.tenant = ? AND i.subject = ? AND i.key = ? AND i.expires_us > ?
"""


class SqliteGround:
    """See Ground (ground.py)."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._run = transaction.run

    def stored(self, scope: Scope, memory_id: str) -> Stored | None:
        """See Ground."""
        namespace = self._transaction.namespace(scope)
        return None if namespace is None else current_of(self._transaction, namespace, memory_id)

    def document(self, scope: Scope, memory_id: str, version: int) -> bytes | None:
        """See Ground."""
        rows = self._run(_DOCUMENT, (self._transaction.namespace(scope), memory_id, version)).fetchall()
        return rows[0][0] if rows else None

    def twin(self, scope: Scope, fingerprint: bytes, now_us: int) -> str | None:
        """See Ground."""
        namespace = self._transaction.namespace(scope)
        if namespace is None:
            return None
        words = f'scope : "{twin_word(namespace, fingerprint)}"'
        rows = self._run(_TWIN, (words, namespace, now_us)).fetchall()
        return rows[0][0] if rows else None

    def room(self, scope: Scope) -> Room:
        """See Ground."""
        namespace = self._transaction.namespace(scope)
        return EMPTY if namespace is None else self._transaction.room(namespace)

    def grid_models(self) -> Mapping[str, int | None]:
        """See Ground."""
        return in_use(self._transaction.models())

    def remembered(self, scope: Scope, actor: str, key: str, now_us: int) -> Remembered | None:
        """See Ground."""
        rows = self._run(_REMEMBERED, (scope.tenant, actor, key, now_us)).fetchall()
        if not rows:
            return None
        fingerprint, memory_id, version, doc, is_new = rows[0]
        return Remembered(fingerprint, memory_id, version, doc, bool(is_new))
