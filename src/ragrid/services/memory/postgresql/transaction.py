"""One writing transaction of one tenant: lock, load, decide, write, commit; five round trips for a whole batch."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import asyncpg
import msgspec

from ragrid.services.memory.changes import Change, Scope, Stored
from ragrid.services.memory.deciding import decide
from ragrid.services.memory.embedding.matrix import pack
from ragrid.services.memory.embedding.sources import brought_number, in_use, models_of
from ragrid.services.memory.embedding.text import digest_of, embedding_text
from ragrid.services.memory.filters.plain import plain_of
from ragrid.services.memory.ground import Remembered
from ragrid.services.memory.namespaces import EMPTY
from ragrid.services.memory.postgresql import statements, vectors
from ragrid.services.memory.postgresql.rooms import room_of
from ragrid.services.memory.postgresql.workspace import (
    Held,
    Need,
    NotLoadedError,
    Pending,
    Request,
    Row,
    Workspace,
)
from ragrid.services.memory.protocol.memories import Written
from ragrid.services.memory.vectors import GivenVector
from ragrid.services.memory.versions import expired


class _Said(NamedTuple):
    """The text of a memory as vectors know it; no digest: it is gone."""

    position: int
    namespace: str
    at_us: int
    digest: bytes | None
    is_embedded: bool
    brought: GivenVector | None
    #: The model of that vector; None: the namespace's own.
    model: str | None


class Transaction:
    """A transaction that holds its tenant's lock. What is decided in `workspace` is written by `flush`."""

    def __init__(self, connection: asyncpg.Connection, workspace: Workspace, number: str) -> None:
        self.connection = connection
        self.workspace = workspace
        #: The server's number for it (`xid8`), which tells later how it ended.
        self.number = number
        self._saved_seq = workspace.seq

    @classmethod
    async def begin(cls, connection: asyncpg.Connection, tenant: str) -> "Transaction":
        """Begin, and wait for the tenant's lock."""
        await connection.execute("BEGIN")
        row = await connection.fetchrow(statements.LOCK, tenant)
        if row is None:
            await connection.execute(statements.FIRST, tenant)
            row = await connection.fetchrow(statements.LOCK, tenant)
        if row is None:
            raise AssertionError("a row of counters is never removed")
        seq, number, _ = row
        return cls(connection, Workspace(tenant, seq), number)

    async def change(self, change: Change) -> Written:
        """Carry out one change, or raise its refusal before anything is noted."""
        workspace = self.workspace
        while True:
            try:
                outcome = decide(workspace, change, seq=workspace.seq + 1)
                workspace.carry_out(change, outcome)
            except NotLoadedError as error:
                await self.load(error.need)
            else:
                return outcome.written

    async def load(self, need: Need) -> None:
        """Read what decisions will look at. What was decided in this transaction is not overwritten by it."""
        if need.keys:
            await self._load_memories(need)
        if need.documents:
            await self._load_documents(need)
        if need.twins:
            await self._load_twins(need)
        if need.rooms:
            await self._load_rooms(need)
        if need.models:
            await self._load_models()
        if need.requests:
            await self._load_requests(need)

    async def sweep(self, now_us: int, limit: int) -> int:
        """End up to `limit` memories whose time is over, and forget as many old idempotency keys."""
        workspace = self.workspace
        await self.flush()
        rows = await self._fetch(statements.EXPIRED, now_us, limit)
        for row in rows:
            held, memory_id = _held(row), row["id"]
            workspace.hold((row["namespace"], memory_id), held)
            workspace.apply(row["namespace"], [expired(held.stored, memory_id, seq=workspace.seq + 1, at_us=now_us)])
        await self.flush()
        await self.connection.execute(statements.FORGET, workspace.tenant, now_us, limit)
        await self.connection.execute(statements.NEXT_EXPIRY, workspace.tenant)
        return len(rows)

    async def flush(self) -> None:
        """Write what was decided so far."""
        pending, tenant = self.workspace.take_pending(), self.workspace.tenant
        if pending.erased:
            await self.connection.execute(statements.ERASE, tenant, *_columns(sorted(pending.erased), 2))
        if pending.lines or pending.requests:
            live = sum(one.rows for one in pending.growth.values())
            counts = (self.workspace.seq, live, pending.next_expiry_us)
            await self.connection.execute(statements.WRITE, tenant, *_written(pending), *counts)
            await self._follow(self._said(pending))
            for name, one in sorted(pending.brought.items()):
                told = (one.model.encode(), one.dimension)
                await self.connection.execute(vectors.NAME_BROUGHT, tenant, name, *told)
        if pending.requests:
            rows = [
                (*name, one.known.fingerprint, one.seq, one.expires_us, one.known.is_new)
                for name, one in sorted(pending.requests.items())
            ]
            await self.connection.execute(statements.REQUEST, tenant, *_columns(rows, 6))

    async def set_savepoint(self) -> None:
        """Write what was decided so far, and remember this state."""
        await self.flush()
        await self.connection.execute("SAVEPOINT here")
        self._saved_seq = self.workspace.seq

    async def return_to_savepoint(self) -> None:
        """Undo everything since `set_savepoint`; what decisions look at after it is loaded anew."""
        await self.connection.execute("ROLLBACK TO SAVEPOINT here")
        self.workspace.seq = self._saved_seq
        self.begin_anew()

    def begin_anew(self, *, changed: Iterable[str] = ()) -> None:
        """Forget what was loaded: somebody has written beside `flush`, also to the namespaces that have `changed`."""
        before = self.workspace
        self.workspace = Workspace(before.tenant, before.seq)
        self.workspace.changed = before.changed | set(changed)

    async def commit(self) -> None:
        """Make it durable."""
        await self.connection.execute("COMMIT")

    def _said(self, pending: Pending) -> list[_Said]:
        """Return what each memory says after the transaction, with the vector that was brought for that very text."""
        said: dict[int, _Said] = {}
        for line in pending.lines:
            one = line.version
            text = "" if one.memory is None else embedding_text(one.memory)
            digest = None if one.memory is None else digest_of(text)
            before = said.get(one.position)
            brought, model = one.embedding, None
            if brought is not None and not one.is_brought:
                model = brought.model
            if brought is None and before is not None and before.digest == digest:
                brought, model = before.brought, before.model
            is_embedded = bool(text) and self._takes_part(line.namespace)
            said[one.position] = _Said(one.position, line.namespace, one.at_us, digest, is_embedded, brought, model)
        return list(said.values())

    def _takes_part(self, namespace: str) -> bool:
        """Tell whether the grid's embedder may have the texts of a namespace; its settings were loaded to decide."""
        room = self.workspace.room(Scope(self.workspace.tenant, namespace))
        return room.settings.embedder == "grid"

    async def _follow(self, said: Sequence[_Said]) -> None:
        """Let outbox and vectors follow what was written."""
        rows = [(one.position, one.namespace, one.at_us, one.digest, one.is_embedded) for one in said]
        await self.connection.execute(vectors.FOLLOW, self.workspace.tenant, *_columns(rows, 5))
        brought = [(one, one.brought) for one in said if one.brought is not None]
        for dimension in sorted({len(given.values) for one, given in brought if one.model is None}):
            own = [(one, given) for one, given in brought if one.model is None and len(given.values) == dimension]
            await self._keep_brought(brought_number(dimension), own)
        for model in sorted({one.model for one, _ in brought if one.model is not None}):
            row = await self.connection.fetchrow(vectors.MODEL, model)
            if row is not None:  # else it was taken out of the settings this very moment
                await self._keep_brought(row["number"], [(one, given) for one, given in brought if one.model == model])

    async def _keep_brought(self, number: int, brought: Sequence[tuple[_Said, GivenVector]]) -> None:
        """Keep vectors that callers brought."""
        tenant = self.workspace.tenant
        last: int = await self.connection.fetchval(vectors.STAMPS, tenant, len(brought))
        rows = [
            (one.position, one.namespace, one.digest, last - place, pack(given.direction))
            for place, (one, given) in enumerate(brought)
        ]
        await self.connection.execute(vectors.KEEP, tenant, number, *_columns(rows, 5))
        await self.connection.execute(vectors.LEAVE_POSITIONS, tenant, number, [row[0] for row in rows])

    async def _load_models(self) -> None:
        """Read the models in use. One that comes right after is filled with what this transaction writes."""
        self.workspace.know_models(in_use(models_of(await self.connection.fetch(vectors.MODELS))))

    async def _fetch(self, sql: str, *parameters: object) -> Sequence[asyncpg.Record]:
        rows: Sequence[asyncpg.Record] = await self.connection.fetch(sql, self.workspace.tenant, *parameters)
        return rows

    async def _load_memories(self, need: Need) -> None:
        for row in await self._fetch(statements.CURRENT, *_columns(need.keys, 2)):
            self.workspace.hold((row["namespace"], row["id"]), _held(row))
        for key in need.keys:
            self.workspace.hold(key, None)

    async def _load_documents(self, need: Need) -> None:
        for namespace, memory_id, version, doc in await self._fetch(statements.DOCUMENTS, *_columns(need.documents, 3)):
            self.workspace.know_document((namespace, memory_id), version, doc)
        for namespace, memory_id, version in need.documents:
            self.workspace.know_document((namespace, memory_id), version, None)

    async def _load_twins(self, need: Need) -> None:
        for row in await self._fetch(statements.TWINS, *_columns(need.twins, 2)):
            self.workspace.hold((row["namespace"], row["id"]), _held(row))
        for twin in need.twins:
            self.workspace.know_twins(*twin)

    async def _load_rooms(self, need: Need) -> None:
        await self.flush()  # what is decided counts
        for name, *room in await self._fetch(statements.ROOMS, list(need.rooms)):
            self.workspace.know_room(name, room_of(room))
        for name in need.rooms:
            self.workspace.know_room(name, EMPTY)

    async def _load_requests(self, need: Need) -> None:
        for row in await self._fetch(statements.REQUESTS, *_columns(need.requests, 2)):
            key = (row["namespace"], row["id"])
            self.workspace.hold(key, _held(row))
            made = (row["request_fingerprint"], row["id"], row["made_version"], row["made_doc"], row["is_new"])
            request = Request(Remembered(*made), key, row["request_seq"], row["request_expires_us"])
            self.workspace.know_request((row["subject"], row["key"]), request)
        for one in need.requests:
            self.workspace.know_request(one, None)


def _held(row: asyncpg.Record) -> Held:
    stored = Stored(
        position=row["position"],
        version=row["version"],
        doc=row["doc"],
        created_us=row["created_us"],
        created_by=row["created_by"],
        expires_us=row["expires_us"],
        is_deleted=row["is_deleted"],
        is_erased=row["is_erased"],
        superseded_by=row["superseded_by"],
    )
    return Held(stored, row["words"], row["fingerprint"])


def _written(pending: Pending) -> list[list[Any]]:
    """Return the columns of all tables that `WRITE` fills, in its order."""
    lines = [
        (v.seq, line.namespace, v.id, v.version, v.op, v.actor, v.at_us, line.doc)
        for line in pending.lines
        for v in (line.version,)
    ]
    growth = [(name, *msgspec.structs.astuple(one)) for name, one in sorted(pending.growth.items())]
    return [
        *_columns([_memory_row(row) for row in pending.rows.values()], 19),
        *_columns(lines, 8),
        sorted(pending.unindexed),
        *_columns(sorted(pending.indexed.items()), 2),
        *_columns(growth, 5),
    ]


def _memory_row(row: Row) -> tuple[Any, ...]:
    one, memory = row.version, row.version.memory
    kinds: tuple[Any, ...] = (None, None, None, None)
    superseded_by = None
    if memory is not None:
        kinds = (memory.type, *(_raw(text) for text in (memory.user_id, memory.agent_id, memory.session_id)))
        superseded_by = memory.superseded_by
    place = (row.namespace, one.id, one.position, one.version, one.seq, memory is None, one.is_erasing)
    made = (row.words, one.created_us, one.created_by, one.expires_us, superseded_by)
    return (*place, *kinds, *made, one.fingerprint, one.doc, plain_of(one.doc))


def _columns(rows: Collection[Sequence[Any]], width: int) -> list[list[Any]]:
    """Return the columns of `rows`, as the server takes them."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


def _raw(text: str | None) -> bytes | None:
    return None if text is None else text.encode()
