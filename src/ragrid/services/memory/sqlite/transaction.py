"""The writer's transaction: its locks, its counters and the numbers of namespaces; `writing/` is what is done inside.

Runs on the writer's thread only.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import apsw
import msgspec

from ragrid.services.memory.changes import Scope
from ragrid.services.memory.embedding.sources import GridModel, models_of
from ragrid.services.memory.namespaces import EMPTY, Brought, NamespaceSettings, Room
from ragrid.services.memory.sqlite.files import fetch
from ragrid.services.memory.sqlite.queries import room_of
from ragrid.services.memory.sqlite.vectors import MODELS, ROOM

NAMESPACE = "SELECT id FROM namespace WHERE tenant = ? AND name = ?"
#: Namespace numbers that are remembered between transactions.
NAMESPACES_KEPT = 10_000
#: What deletes and sweeps may use of a store that is full to its limit: these pages of 4 KiB, or a twentieth.
RESERVE_PAGES = 256


class Undo(Exception):  # noqa: N818 - no error: an order
    """Raised by work that finds out late that nothing of it shall stay; `answer` is what its caller gets."""

    def __init__(self, answer: Any) -> None:
        super().__init__("undone")
        self.answer = answer


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
        #: The models of the grid's embedders; None: they are read anew.
        self._models: tuple[GridModel, ...] | None = None
        self._namespaces: dict[Scope, int] = {}
        self._rooms: dict[int, Room] = {}
        self._changed_rooms: set[int] = set()
        #: Numbers of the namespaces whose memories this transaction has changed.
        self.changed: set[int] = set()
        self._committed_changes: set[Scope] = set()
        self._scopes: dict[int, Scope] = {}

    @property
    def committed_rows(self) -> int:
        """Live memories after the last commit."""
        return self._committed.rows

    def begin(self) -> None:
        """Take the write lock."""
        self._limit(has_reserve=False)
        if max(len(self._namespaces), len(self._rooms)) >= NAMESPACES_KEPT:
            self.forget_namespaces()
        self.run("BEGIN IMMEDIATE")

    def open_reserve(self) -> None:
        """Let the rest of this transaction use the reserve: a delete needs a little room before it makes any."""
        self._limit(has_reserve=True)

    def commit(self) -> None:
        """Make everything since `begin` durable."""
        if self.seq != self._committed.seq:
            self.run("UPDATE counter SET value = ? WHERE name = 'seq'", (self.seq,))
            self.run("UPDATE counter SET value = ? WHERE name = 'rows'", (self.rows,))
        changed = {self._scope(number) for number in self.changed}
        for number in self._changed_rooms:
            room = self._rooms[number]
            self.run("UPDATE namespace SET rows = ?, size_bytes = ? WHERE id = ?", (room.rows, room.size_bytes, number))
        self._changed_rooms.clear()
        self.run("COMMIT")
        self._committed = _Counters(self.seq, self.rows)
        self._committed_changes |= changed
        self.changed.clear()

    def take_changed(self) -> frozenset[Scope]:
        """Return the namespaces that commits have changed since the last call."""
        changed = frozenset(self._committed_changes)
        self._committed_changes.clear()
        return changed

    def roll_back(self) -> None:
        """Undo everything since `begin`."""
        if self._connection.in_transaction:
            self.run("ROLLBACK")
        self.seq, self.rows = self._committed
        self._models = None
        self.changed.clear()
        self.forget_namespaces()

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
        if not found:
            return None
        number: int = found[0][0]
        self._namespaces[scope] = number
        return number

    def make_namespace(self, scope: Scope, at_us: int) -> int:
        """Add a namespace and return its number."""
        self.run(
            "INSERT INTO namespace (tenant, name, created_us) VALUES (?, ?, ?)",
            (scope.tenant, scope.namespace, at_us),
        )
        number = self._connection.last_insert_rowid()
        self._rooms[number] = EMPTY
        self._namespaces[scope] = number
        return number

    def room(self, number: int) -> Room:
        """Return the settings of a namespace and what is in it."""
        known = self._rooms.get(number)
        if known is None:
            known = self._rooms[number] = room_of(self.run(ROOM, (number,)).fetchall()[0])
        return known

    def count(self, number: int, rows: int, size_bytes: int) -> None:
        """Add to what is in a namespace, and in the store; less than nothing takes away."""
        before = self.room(number)
        after = (before.rows + rows, before.size_bytes + size_bytes)
        self._rooms[number] = Room(before.settings, *after, before.brought)
        self._changed_rooms.add(number)
        self.rows += rows

    def put_settings(self, number: int, settings: NamespaceSettings) -> None:
        """Let the changes that follow see new settings; they are written by who calls this."""
        self._rooms[number] = msgspec.structs.replace(self.room(number), settings=settings)

    def put_brought(self, number: int, brought: Brought | None) -> None:
        """Let a namespace's own vectors be of this model; None: of the one that the next vector names."""
        self._rooms[number] = msgspec.structs.replace(self.room(number), brought=brought)
        told = (None, None) if brought is None else (brought.model, brought.dimension)
        self.run("UPDATE namespace SET brought_model = ?, brought_dimension = ? WHERE id = ?", (*told, number))

    def models(self) -> tuple[GridModel, ...]:
        """Return the models of the grid's embedders, present and past."""
        if self._models is None:
            self._models = models_of(self.run(MODELS).fetchall())
        return self._models

    def forget_models(self) -> None:
        """Read the models anew: one has changed."""
        self._models = None

    def drop_namespace(self, scope: Scope, number: int) -> None:
        """Let nothing find a namespace by its name any more, and count nothing of it."""
        room = self.room(number)
        self.count(number, -room.rows, -room.size_bytes)
        self._namespaces.pop(scope, None)
        self._scopes.pop(number, None)

    def forget_namespaces(self) -> None:
        """Read numbers and settings of namespaces anew from now on."""
        self._namespaces.clear()
        self._scopes.clear()
        self._rooms.clear()
        self._changed_rooms.clear()

    def _scope(self, number: int) -> Scope:
        known = self._scopes.get(number)
        if known is None:
            if len(self._scopes) >= NAMESPACES_KEPT:
                self._scopes.clear()
            rows = self.run("SELECT tenant, name FROM namespace WHERE id = ?", (number,)).fetchall()
            known = self._scopes[number] = Scope(*rows[0])
        return known
