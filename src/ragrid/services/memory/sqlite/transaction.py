"""The writer's transaction: its locks, its counters and the numbers of namespaces; `writing/` is what is done inside.

Runs on the writer's thread only.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import apsw

from ragrid.services.memory.changes import Scope
from ragrid.services.memory.sqlite.files import fetch

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
    """One transaction at a time over the writer's connection; its counters follow commits and roll-backs.

    `run` runs one statement; `seq` (the last that was used) and `rows` (live memories) are moved by what runs inside.
    """

    def __init__(self, connection: apsw.Connection, *, max_bytes: int | None = None) -> None:
        self.run: Callable[..., Any] = connection.execute
        self._connection = connection
        counters: dict[str, int] = dict(fetch(connection, "SELECT name, value FROM counter"))
        self._committed = _Counters(counters["seq"], counters["rows"])
        self.seq, self.rows = self._committed
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
        self.run("BEGIN IMMEDIATE")

    def open_reserve(self) -> None:
        """Let the rest of this transaction use the reserve: a delete needs a little room before it makes any."""
        self._limit(has_reserve=True)

    def commit(self) -> None:
        """Make everything since `begin` durable."""
        if self.seq != self._committed.seq:
            self.run("UPDATE counter SET value = ? WHERE name = 'seq'", (self.seq,))
            self.run("UPDATE counter SET value = ? WHERE name = 'rows'", (self.rows,))
        self.run("COMMIT")
        self._committed = _Counters(self.seq, self.rows)
        self._new_namespaces.clear()

    def roll_back(self) -> None:
        """Undo everything since `begin`."""
        if self._connection.in_transaction:
            self.run("ROLLBACK")
        self.seq, self.rows = self._committed
        for scope in self._new_namespaces:
            self._namespaces.pop(scope, None)
        self._new_namespaces.clear()

    def _limit(self, *, has_reserve: bool) -> None:
        if self._max_pages is not None and has_reserve != self._has_reserve:
            pages = self._max_pages + (max(RESERVE_PAGES, self._max_pages // 20) if has_reserve else 0)
            self.run(f"PRAGMA max_page_count = {pages}")
            self._has_reserve = has_reserve

    def namespace(self, scope: Scope) -> int | None:
        """Return the number of a namespace, or None before the first write into it."""
        known = self._namespaces.get(scope)
        if known is not None:
            return known
        found = self.run(NAMESPACE, (scope.tenant, scope.namespace)).fetchall()
        return self._keep(scope, found[0][0]) if found else None

    def make_namespace(self, scope: Scope, at_us: int) -> int:
        """Add a namespace and return its number."""
        self.run(
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


def scope_word(namespace: int) -> str:
    """Return the word that stands for a namespace in the full-text index."""
    return f"n{namespace}"
