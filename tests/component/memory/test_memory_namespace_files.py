"""A deleted namespace leaves nothing behind in the file, whatever table somebody adds."""

import contextlib
from pathlib import Path
from typing import Any

import apsw

from ragrid.services.memory.changes import Delete, Idempotency, Replace, Scope
from ragrid.services.memory.messages import Append, AppendRequest, MessageInput
from ragrid.services.memory.model import MemoryInput
from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.sqlite.files import fetch
from ragrid.services.memory.sqlite.store import SqliteStore
from ragrid.services.memory.working_state import PutState, StateInput

GONE, STAYS = Scope("acme", "gone"), Scope("acme", "stays")
NOW = 1_800_000_000_000_000
LIMIT = 3


async def fill(store: SqliteStore, scope: Scope) -> None:
    for number in range(8):
        given = MemoryInput(content=f"fact {number}", tags=("x", "y"), user_id="u", ttl_seconds=5 + number)
        await store.change(Replace(scope, f"k{number}", "alice", NOW, given))
    await store.change(Delete(scope, "k0", "alice", NOW))
    said = AppendRequest(messages=tuple(MessageInput(role="user", content=str(n)) for n in range(7)))
    await store.append(Append(scope, "s", "alice", NOW, said, Idempotency(scope.namespace, b"f")))
    await store.put_state(PutState(scope, "t", "alice", NOW, StateInput(data={"a": 1})))


def rows_of(folder: Path, name: str) -> dict[str, int]:
    """Return how many rows each table holds of a namespace, by its number or by the position of a memory."""
    with contextlib.closing(apsw.Connection(str(folder / "memory.db"))) as database:
        number = fetch(database, "SELECT id FROM namespace WHERE name = ?", (name,))[0][0]
        found: dict[str, int] = {}
        for (table,) in database.execute("SELECT name FROM pragma_table_list WHERE type = 'table'").fetchall():
            columns = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
            if "namespace" in columns:
                sql = f"SELECT count(*) FROM {table} WHERE namespace = ?"  # noqa: S608 - names of our own tables
                found[str(table)] = _count(database, sql, number)
        words = "SELECT count(*) FROM memory_fts WHERE memory_fts MATCH ?"
        return {**found, "memory_fts": _count(database, words, f"scope:n{number}")}


def _count(database: apsw.Connection, sql: str, value: Any) -> int:
    return int(fetch(database, sql, (value,))[0][0])


def embed(folder: Path) -> None:
    """Lay a vector and a line of the outbox beside each memory, as the embedding worker does."""
    with contextlib.closing(apsw.Connection(str(folder / "memory.db"))) as database:
        database.set_busy_timeout(5000)
        database.execute("INSERT INTO embedding_model (number, name, state) VALUES (1, 'm', 'active')")
        database.execute("""
            INSERT INTO memory_vector (model, namespace, position, digest, vector)
            SELECT 1, namespace, position, x'00', x'0000' FROM memory;
            INSERT INTO embedding_outbox
            SELECT position, 1, namespace, x'', 0, 0, 0, 0, NULL FROM memory
        """)


async def test_every_row_goes_and_only_those(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path)
    for scope in (GONE, STAYS):
        await fill(store, scope)
    embed(tmp_path)
    before = rows_of(tmp_path, "stays")
    assert rows_of(tmp_path, "gone") == before
    assert min(before.values()) > 0, before
    gone = await store.namespace(GONE)
    assert gone is not None

    await store.delete_namespace(GONE)
    calls = 0
    while await store.sweep(now_us=NOW, limit=LIMIT) == LIMIT:
        calls += 1
    assert calls >= sum(rows_of(tmp_path, "stays").values()) // (LIMIT * 8)
    assert set(rows_of(tmp_path, f"!{gone.position}").values()) == {0}
    assert rows_of(tmp_path, "stays") == before
    assert len((await store.page(STAYS, Filter(), now_us=NOW, limit=99)).docs) == 7
    assert (await store.stats()).rows == 7
    await store.close()
