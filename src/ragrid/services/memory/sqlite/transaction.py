"""What the writer does inside one transaction: the statements behind each change. Runs on the writer's thread only."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import apsw

from ragrid.services.memory.changes import Change, Create, Scope, Stored, Version, decide, expire, is_expired
from ragrid.services.memory.errors import KeyReusedError, ReplayGoneError
from ragrid.services.memory.model import Memory, searchable
from ragrid.services.memory.sqlite.files import fetch
from ragrid.services.memory.store import IDEMPOTENCY_US, Written, is_replay_of, written

_CURRENT = """
SELECT position, version, doc, created_us, created_by, expires_us, is_deleted
FROM memory WHERE namespace = ? AND id = ?
"""
_INSERT = "INSERT INTO memory VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?)"
_UPDATE = """
UPDATE memory SET version = ?, seq = ?, type = ?, user_id = ?, agent_id = ?, session_id = ?, expires_us = ?, doc = ?
WHERE position = ?
"""
_BURY = """
UPDATE memory SET version = ?, seq = ?, type = NULL, user_id = NULL, agent_id = NULL, session_id = NULL,
  expires_us = ?, is_deleted = 1, doc = x''
WHERE position = ?
"""
_EVENT = "INSERT INTO memory_event VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_ERASE = "UPDATE memory_event SET doc = NULL WHERE namespace = ? AND id = ? AND doc IS NOT NULL"
_EXPIRED = """
SELECT namespace, id, position, version, doc, created_us, created_by, expires_us, is_deleted
FROM memory WHERE expires_us <= ? ORDER BY expires_us LIMIT ?
"""
_REPLAY = """
SELECT i.fingerprint, e.namespace, e.id, e.version, e.doc
FROM idempotency AS i JOIN memory_event AS e ON e.seq = i.seq
WHERE i.tenant = ? AND i.subject = ? AND i.key = ? AND i.expires_us > ?
"""


NAMESPACE = "SELECT id FROM namespace WHERE tenant = ? AND name = ?"
#: Namespace numbers that are remembered between transactions.
NAMESPACES_KEPT = 10_000
#: What deletes and sweeps may use of a store that is full to its limit: these pages of 4 KiB, or a twentieth.
RESERVE_PAGES = 256


class _Counters(NamedTuple):
    """Where the counters stood after a commit."""

    seq: int
    rows: int


class Transaction:
    """One transaction at a time over the writer's connection; its counters follow commits and roll-backs."""

    def __init__(self, connection: apsw.Connection, *, max_bytes: int | None = None) -> None:
        self._run: Callable[..., Any] = connection.execute
        self._connection = connection
        counters: dict[str, int] = dict(fetch(connection, "SELECT name, value FROM counter"))
        self._committed = _Counters(counters["seq"], counters["rows"])
        self._seq, self._rows = self._committed
        self._max_pages = (
            None if max_bytes is None else max(1, max_bytes // fetch(connection, "PRAGMA page_size")[0][0])
        )
        self._has_reserve = True
        self._namespaces: dict[Scope, int] = {}
        self._new_namespaces: list[Scope] = []

    @property
    def committed_rows(self) -> int:
        """Live memories after the last commit."""
        return self._committed.rows

    def begin(self) -> None:
        """Take the write lock."""
        self._limit(has_reserve=False)
        self._run("BEGIN IMMEDIATE")

    def open_reserve(self) -> None:
        """Let the rest of this transaction use the reserve: a delete needs a little room before it makes any."""
        self._limit(has_reserve=True)

    def commit(self) -> None:
        """Make everything since `begin` durable."""
        if self._seq != self._committed.seq:
            self._run("UPDATE counter SET value = ? WHERE name = 'seq'", (self._seq,))
            self._run("UPDATE counter SET value = ? WHERE name = 'rows'", (self._rows,))
        self._run("COMMIT")
        self._committed = _Counters(self._seq, self._rows)
        self._new_namespaces.clear()

    def roll_back(self) -> None:
        """Undo everything since `begin`."""
        if self._connection.in_transaction:
            self._run("ROLLBACK")
        self._seq, self._rows = self._committed
        for scope in self._new_namespaces:
            self._namespaces.pop(scope, None)
        self._new_namespaces.clear()

    def _limit(self, *, has_reserve: bool) -> None:
        if self._max_pages is not None and has_reserve != self._has_reserve:
            pages = self._max_pages + (max(RESERVE_PAGES, self._max_pages // 20) if has_reserve else 0)
            self._run(f"PRAGMA max_page_count = {pages}")
            self._has_reserve = has_reserve

    def change(self, change: Change) -> Written:
        """Carry out one change, or raise its refusal before anything is written.

        No savepoint guards it: each would make the full-text index write out a segment (118 instead of 74 µs of
        processor time a change, in batches of 32).
        """
        if isinstance(change, Create) and change.idempotency is not None:
            replay = self._replay(change)
            if replay is not None:
                return replay
        namespace = self._namespace(change.scope)
        # The id of a Create is new by construction, and the unique index watches over that.
        is_new = isinstance(change, Create)
        current = None if namespace is None or is_new else self._current(namespace, change.id)
        versions = decide(current, change, seq=self._seq + 1)
        if namespace is None:
            namespace = self._make_namespace(change.scope, change.at_us)
        for version in versions:
            self._apply(namespace, version)
        if isinstance(change, Create) and change.idempotency is not None:
            self._remember(change, versions[-1].seq)
        return written(versions)

    def sweep(self, now_us: int, limit: int) -> int:
        """End up to `limit` memories whose time is over, and forget as many old idempotency keys."""
        expired = self._run(_EXPIRED, (now_us, limit)).fetchall()
        for namespace, memory_id, *columns in expired:
            current = _stored(columns)
            self._apply(namespace, expire(current, memory_id, seq=self._seq + 1, at_us=now_us))
        keys = "SELECT tenant, subject, key FROM idempotency WHERE expires_us <= ? LIMIT ?"
        for row in self._run(keys, (now_us, limit)).fetchall():
            self._run("DELETE FROM idempotency WHERE tenant = ? AND subject = ? AND key = ?", row)
        return len(expired)

    def _current(self, namespace: int, memory_id: str) -> Stored | None:
        rows = self._run(_CURRENT, (namespace, memory_id)).fetchall()
        return _stored(rows[0]) if rows else None

    def _apply(self, namespace: int, version: Version) -> None:
        """Write one version: the row, its place in the indexes, and its line in the history."""
        self._seq = version.seq
        if version.memory is None:
            self._bury(namespace, version)
        elif version.op == "create":
            self._insert(namespace, version, version.memory)
        else:
            self._update(namespace, version, version.memory)
        doc = version.doc or None
        self._run(
            _EVENT,
            (version.seq, namespace, version.id, version.version, version.op, version.actor, version.at_us, doc),
        )

    def _insert(self, namespace: int, version: Version, memory: Memory) -> None:
        if version.version > 1:
            self._run("DELETE FROM memory WHERE namespace = ? AND id = ?", (namespace, version.id))
        kinds = (memory.type, memory.user_id, memory.agent_id, memory.session_id)
        made = (version.created_us, version.created_by, version.expires_us, version.doc)
        self._run(_INSERT, (version.position, namespace, version.id, version.version, version.seq, *kinds, *made))
        self._index(namespace, version.position, memory)
        self._rows += 1

    def _update(self, namespace: int, version: Version, memory: Memory) -> None:
        kinds = (memory.type, memory.user_id, memory.agent_id, memory.session_id)
        changed = (version.version, version.seq, *kinds, version.expires_us, version.doc, version.position)
        self._run(_UPDATE, changed)
        self._unindex(version.position)
        self._index(namespace, version.position, memory)

    def _bury(self, namespace: int, version: Version) -> None:
        row = self._run("SELECT is_deleted FROM memory WHERE position = ?", (version.position,)).fetchall()[0]
        if not row[0]:
            self._unindex(version.position)
            self._rows -= 1
        self._run(_BURY, (version.version, version.seq, version.expires_us, version.position))
        if version.op == "expire":
            self._run(_ERASE, (namespace, version.id))

    def _index(self, namespace: int, position: int, memory: Memory) -> None:
        self._run(
            "INSERT INTO memory_fts (rowid, scope, content, tags, data) VALUES (?, ?, ?, ?, ?)",
            (position, scope_word(namespace), *searchable(memory)),
        )
        for tag in memory.tags:
            self._run("INSERT INTO memory_tag VALUES (?, ?, ?)", (namespace, tag, position))

    def _unindex(self, position: int) -> None:
        self._run("DELETE FROM memory_fts WHERE rowid = ?", (position,))
        self._run("DELETE FROM memory_tag WHERE position = ?", (position,))

    def _namespace(self, scope: Scope) -> int | None:
        """Return the number of a namespace, or None before the first write into it."""
        known = self._namespaces.get(scope)
        if known is not None:
            return known
        found = self._run(NAMESPACE, (scope.tenant, scope.namespace)).fetchall()
        return self._keep(scope, found[0][0]) if found else None

    def _make_namespace(self, scope: Scope, at_us: int) -> int:
        self._run(
            "INSERT INTO namespace (tenant, name, created_us) VALUES (?, ?, ?)",
            (scope.tenant, scope.namespace, at_us),
        )
        self._new_namespaces.append(scope)
        return self._keep(scope, self._connection.last_insert_rowid())

    def _keep(self, scope: Scope, number: int) -> int:
        if len(self._namespaces) >= NAMESPACES_KEPT:
            self._namespaces.clear()
        self._namespaces[scope] = number
        return number

    def _replay(self, create: Create) -> Written | None:
        """Return what an idempotency key led to before, or None when it is new."""
        key = create.idempotency.key if create.idempotency is not None else ""
        rows = self._run(_REPLAY, (create.scope.tenant, create.actor, key, create.at_us)).fetchall()
        if not rows:
            return None
        fingerprint, namespace, memory_id, version, doc = rows[0]
        if not is_replay_of(create, fingerprint):
            raise KeyReusedError(f"idempotency key {key!r} came before with another request; choose a new key")
        current = self._current(namespace, memory_id)
        if doc is None or (current is not None and is_expired(current, create.at_us)):
            raise ReplayGoneError(f"the memory that idempotency key {key!r} made has expired; choose a new key")
        return Written(memory_id, version, doc, is_new=True, is_replay=True)

    def _remember(self, create: Create, seq: int) -> None:
        if create.idempotency is None:
            return
        one = create.idempotency
        self._run(
            "INSERT OR REPLACE INTO idempotency VALUES (?, ?, ?, ?, ?, ?)",
            (create.scope.tenant, create.actor, one.key, one.fingerprint, seq, create.at_us + IDEMPOTENCY_US),
        )


def scope_word(namespace: int) -> str:
    """Return the word that stands for a namespace in the full-text index."""
    return f"n{namespace}"


def _stored(columns: Sequence[Any]) -> Stored:
    position, version, doc, created_us, created_by, expires_us, is_deleted = columns
    return Stored(position, version, doc, created_us, created_by, expires_us, bool(is_deleted))
