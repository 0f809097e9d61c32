"""A memory store with something of everything, as each release leaves one behind for the releases after it.

For a release with a new schema: `python tests/support/released_store.py tests/component/memory/released`.
"""

import asyncio
import gzip
import itertools
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from ragrid.services.memory.changes import Create, Delete, Idempotency, Patch, Replace, Scope
from ragrid.services.memory.model import MemoryInput, Source
from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.sqlite.schema import MIGRATIONS
from ragrid.services.memory.sqlite.store import SqliteStore
from ragrid.services.memory.vectors import GivenVector
from ragrid.services.memory.words import words_of

SECOND = 1_000_000
MADE_AT = 1_800_000_000_000_000
NOW = MADE_AT + 10 * SECOND
ACME, WORK, EVIL = Scope("acme", "default"), Scope("acme", "work"), Scope("evil", "default")
FILTERS = {"all": Filter(), "ada": Filter(user_id="ada"), "drink": Filter(tags=("drink",))}
IDS = ("tea", "coffee", "gone", "back", "swept", "pinned", "later", "over", "id-1")
#: A vector that callers brought, in releases from the fourth schema on.
BROUGHT = GivenVector(model="theirs", values=(3.0, 0.0, 4.0))
WORDS = ("tea", "kitchen", "creme", "secret", "drink")


def created_with_a_key(memory_id: str, at_us: int) -> Create:
    """Return the create whose key every released store remembers."""
    key = Idempotency("key", b"fingerprint")
    return Create(ACME, memory_id, "alice", at_us, MemoryInput(content="created with a key"), key)


async def build(store: SqliteStore) -> None:
    """Write something of everything."""

    async def put(memory_id: str, content: str, *, scope: Scope = ACME, after_s: int = 0, **members: Any) -> None:
        at_us, given = MADE_AT + after_s * SECOND, MemoryInput(content=content, **members)
        await store.change(Replace(scope, memory_id, "alice", at_us, given))

    await put("tea", "Ada drinks green tea", user_id="ada", tags=("drink", "habit"), metadata={"plan": "pro", "n": 3})
    await put("tea", "Ada drinks black tea", after_s=1, user_id="ada", tags=("drink",), importance=0.9)
    patch = {"data": {"cups": 4, "where": {"room": "kitchen"}}}
    await store.change(Patch(ACME, "tea", "alice", MADE_AT + 2 * SECOND, patch))
    source = Source(kind="message", ref="m-1")
    await put(
        "coffee", "Bob drinks coffee", user_id="bob", agent_id="g", session_id="s", type="episodic", source=source
    )
    await put("gone", "to be deleted", tags=("drink",))
    await store.change(Delete(ACME, "gone", "alice", MADE_AT + 3 * SECOND))
    await put("back", "first life")
    await store.change(Delete(ACME, "back", "alice", MADE_AT))
    await put("back", "second life", after_s=1)
    await put("swept", "secret that was swept", ttl_seconds=1)
    await put("pinned", "kept", ttl_seconds=1, pinned=True)
    await put("later", "expires later", ttl_seconds=100)
    await store.sweep(now_us=MADE_AT + 2 * SECOND, limit=10)
    await put("over", "expired and not swept", ttl_seconds=5)
    await store.change(created_with_a_key("id-1", MADE_AT))
    await put("tea", "tea at work", scope=WORK, data={"text": ["crème brûlée"]})
    await put("tea", "tea of another tenant", scope=EVIL, user_id="ada")
    for scope in (WORK, EVIL):
        await put("near", "a text with a vector", scope=scope, embedding=BROUGHT)
    await put("was-near", "a text", scope=EVIL, embedding=BROUGHT)
    await put("was-near", "another text", scope=EVIL)


async def answers(store: SqliteStore, then: Any) -> Any:
    """Return what `store` answers to everything that is asked of released stores; `then` says what that is."""
    found: Any = {"reads": {}, "histories": {}, "pages": {}, "searches": {}}
    for key in then["reads"]:
        scope, memory_id = _place(key)
        read = await store.read(scope, memory_id, now_us=NOW)
        found["reads"][key] = None if read is None else [read.version, read.doc.decode()]
        events = await store.history(scope, memory_id, now_us=NOW, limit=99)
        found["histories"][key] = None if events is None else [_shown(one) for one in events]
    for key in then["pages"]:
        scope, name = _place(key)
        page = await store.page(scope, FILTERS[name], now_us=NOW, limit=99)
        found["pages"][key] = [doc.decode() for doc in page.docs]
    for key in then["searches"]:
        scope, query = _place(key)
        hits = await store.search(scope, words_of(query), Filter(), now_us=NOW, limit=99)
        found["searches"][key] = sorted(hit.doc.decode() for hit in hits)
    again = await store.change(
        Create(
            ACME, "id-2", "alice", NOW, MemoryInput(content="created with a key"), Idempotency("key", b"fingerprint")
        )
    )
    found["replay"] = [again.id, again.version, again.doc.decode(), again.is_replay]
    found["rows"] = (await store.stats()).rows
    return found


def _place(key: str) -> tuple[Scope, str]:
    tenant, namespace, rest = key.split(":")
    return Scope(tenant, namespace), rest


def _shown(event: Any) -> list[Any]:
    doc = None if event.doc is None else event.doc.decode()
    return [event.seq, event.version, event.op, event.actor, event.at_us, doc]


async def _make(target: Path) -> None:
    asked: Any = {name: {} for name in ("reads", "pages", "searches")}
    for scope in (ACME, WORK, EVIL):
        where = f"{scope.tenant}:{scope.namespace}"
        for name, keys in (("reads", IDS), ("pages", tuple(FILTERS)), ("searches", WORDS)):
            asked[name].update(zip((f"{where}:{key}" for key in keys), itertools.repeat(None)))
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore.open(Path(folder))
        await build(store)
        await store.close()
        name = f"schema-{len(MIGRATIONS)}"
        (target / f"{name}.db.gz").write_bytes(gzip.compress((Path(folder) / "memory.db").read_bytes(), 9, mtime=0))
        store = SqliteStore.open(Path(folder))
        text = json.dumps(await answers(store, asked), indent=1, ensure_ascii=False, sort_keys=True)
        (target / f"{name}.json").write_text(f"{text}\n")
        await store.close()


if __name__ == "__main__":
    asyncio.run(_make(Path(sys.argv[1])))
