"""Whatever is done to a store, in whatever order, it shows what the in-memory model shows.

RAGRID_HISTORIES=500 is the long proof: so many random histories of 50 steps each for every store.
"""

import asyncio
import itertools
import os
import tempfile
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from ragrid.errors import RagridError
from ragrid.services.memory.changes import (
    Change,
    Condition,
    Create,
    Delete,
    Idempotency,
    Patch,
    Purge,
    Replace,
    Restore,
    Scope,
)
from ragrid.services.memory.inmemory.store import InMemoryStore
from ragrid.services.memory.model import MemoryInput
from ragrid.services.memory.namespaces import NamespaceSettings, PutNamespace
from ragrid.services.memory.postgresql.store import PostgresStore
from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.protocol.search import QueryVector
from ragrid.services.memory.protocol.store import MemoryStore
from ragrid.services.memory.sqlite.store import SqliteStore
from ragrid.services.memory.vectors import GivenVector

#: Histories for each store, and the steps of each; a step on PostgreSQL takes ten times as long.
HISTORIES = int(os.environ.get("RAGRID_HISTORIES", "0"))
SHORT = {"sqlite": 15, "postgresql": 3}
STEPS = 50 if HISTORIES else 25

SECOND = 1_000_000
IDS = st.sampled_from(["a", "b", "c"])
WORDS = st.sampled_from(["tea", "coffee", "water"])
TAGS = st.lists(st.sampled_from(["x", "y"]), unique=True).map(tuple)
CONDITIONS = st.sampled_from(
    [Condition()] * 4 + [Condition(must_exist=True), Condition(must_be_absent=True)]
) | st.sets(st.integers(1, 5), max_size=3).map(lambda versions: Condition(versions=frozenset(versions)))
GIVEN = st.builds(
    MemoryInput,
    content=WORDS,
    tags=TAGS,
    user_id=st.sampled_from([None, "u"]),
    ttl_seconds=st.sampled_from([None, None, 1, 5]),
    pinned=st.sampled_from([False, False, True]),
    supersedes=st.sampled_from([(), (), (), ("a",), ("b", "c")]),
    embedding=st.sampled_from(
        [None] * 6
        + [GivenVector(model=model, values=values) for model in ("m", "n") for values in ((1.0, 0.0), (0.0, 0.0, 1.0))]
    ),
)
PATCHES = st.sampled_from(
    [
        {"content": "tea"},
        {"tags": ["x"]},
        {"user_id": None},
        {"ttl_seconds": 3},
        {"expires_at": None},
        {"pinned": True},
        {"pinned": False},
        {"importance": 7},
    ]
)
VERSIONS = st.integers(1, 5)
POLICIES = st.sampled_from([None, None, "keep", "return", "supersede"])
KEYS = st.none() | st.builds(Idempotency, st.sampled_from(["k1", "k2"]), st.sampled_from([b"1", b"2"]))
#: A change, without where and when.
CHANGES = st.one_of(
    st.tuples(st.just(Replace), IDS, GIVEN, CONDITIONS),
    st.tuples(st.just(Replace), IDS, GIVEN, st.just(Condition())),
    st.tuples(st.just(Create), GIVEN, KEYS, POLICIES),
    st.tuples(st.just(Patch), IDS, PATCHES, CONDITIONS),
    st.tuples(st.just(Delete), IDS, CONDITIONS),
    st.tuples(st.just(Restore), IDS, st.none() | VERSIONS, CONDITIONS),
    st.tuples(st.just(Purge), IDS, CONDITIONS),
)
SETTINGS = st.builds(
    NamespaceSettings,
    default_ttl_seconds=st.sampled_from([None, None, 3]),
    quota_rows=st.sampled_from([None, None, 2, 4]),
    on_duplicate=st.sampled_from(["keep", "keep", "return", "supersede"]),
    require_if_match=st.sampled_from([False, False, False, True]),
    embedder=st.sampled_from(["grid", "grid", "given", "given", "none"]),
)
#: The grid's embedder, which never answers: what it shall embed waits.
MODEL = "of the grid"
SCOPES = st.integers(0, 1)


class Stores(RuleBasedStateMachine):
    """A store and the model, one sequence of changes, one clock."""

    runner: asyncio.Runner
    store: MemoryStore
    numbers = itertools.count()

    @initialize()
    def start(self) -> None:
        number = next(self.numbers)
        self.scopes = [Scope(f"t{number}", "one"), Scope(f"t{number}", "two")]
        self.model = InMemoryStore()
        self.now_us = 1_800_000_000 * SECOND + number * 1000 * SECOND
        self.created = itertools.count()
        for store in (self.store, self.model):
            self.runner.run(store.use_models([MODEL]))

    def both(self, call: Any) -> None:
        """Do one thing to both, and find that they answer alike."""
        assert self.seen(call(self.store)) == self.seen(call(self.model))

    def seen(self, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            return _comparable(self.runner.run(work))
        except RagridError as error:
            return _comparable(error)

    def made(self, scope: int, change: Any) -> Change:
        kind, *rest = change
        where, when = self.scopes[scope], ("al", self.now_us)
        if kind is Create:
            given, key, on_duplicate = rest
            return Create(where, f"new{next(self.created)}", *when, given, key, on_duplicate=on_duplicate)
        memory_id, *what = rest
        one: Change = kind(where, memory_id, *when, *what)
        return one

    @rule(scope=SCOPES, change=CHANGES)
    def change(self, scope: int, change: Any) -> None:
        made = self.made(scope, change)
        self.both(lambda store: store.change(made))

    @rule(scope=SCOPES, changes=st.lists(CHANGES, min_size=1, max_size=5), is_atomic=st.booleans())
    def batch(self, scope: int, changes: Sequence[Any], is_atomic: bool) -> None:
        made = [self.made(scope, one) for one in changes]
        self.both(lambda store: store.change_all(made, is_atomic=is_atomic))

    @rule(scope=SCOPES, settings=SETTINGS, condition=CONDITIONS)
    def put_namespace(self, scope: int, settings: NamespaceSettings, condition: Condition) -> None:
        put = PutNamespace(self.scopes[scope], "root", self.now_us, settings, condition)
        self.both(lambda store: store.put_namespace(put))

    @rule(scope=SCOPES, condition=CONDITIONS)
    def delete_namespace(self, scope: int, condition: Condition) -> None:
        self.both(lambda store: store.delete_namespace(self.scopes[scope], condition=condition))

    @rule(scope=SCOPES, tags=TAGS, changes=st.lists(CHANGES, max_size=2))
    def forget(self, scope: int, tags: tuple[str, ...], changes: Sequence[Any]) -> None:
        """What is chosen is what was counted, whatever is written in between."""
        made = [self.made(scope, one) for one in changes]
        where, wanted, now_us = self.scopes[scope], Filter(tags=tags), self.now_us

        async def chosen(store: MemoryStore) -> Any:
            counted = await store.count(where, wanted, now_us=now_us)
            await store.change_all(made, is_atomic=False) if made else ()
            seen = await store.chosen(where, wanted, now_us=now_us, up_to_seq=counted.seq, limit=99)
            return counted.count, sorted(seen)

        self.both(chosen)

    @rule(scope=SCOPES, memory_id=IDS, version=VERSIONS, seconds_ago=st.integers(0, 5))
    def read_past(self, scope: int, memory_id: str, version: int, seconds_ago: int) -> None:
        where, now_us = self.scopes[scope], self.now_us
        as_of_us = now_us - seconds_ago * SECOND
        self.both(lambda store: store.read_past(where, memory_id, now_us=now_us, version=version))
        self.both(lambda store: store.read_past(where, memory_id, now_us=now_us, as_of_us=as_of_us))

    @rule(seconds=st.integers(1, 4))
    def wait(self, seconds: int) -> None:
        self.now_us += seconds * SECOND

    @rule()
    def sweep(self) -> None:
        for store in (self.store, self.model):
            self.runner.run(store.sweep(now_us=self.now_us, limit=1000))

    @rule(word=WORDS, tags=TAGS, user_id=st.sampled_from([None, "u"]))
    def search(self, word: str, tags: tuple[str, ...], user_id: str | None) -> None:
        wanted = Filter(tags=tags, user_id=user_id)

        async def look(store: MemoryStore) -> list[Any]:
            hits = await store.search(self.scopes[0], (word,), wanted, now_us=self.now_us, limit=100)
            return sorted(_id(hit.doc) for hit in hits)  # how rare a word is, is counted over another set of documents

        self.both(look)

    @rule(has_embedder=st.booleans())
    def use_models(self, has_embedder: bool) -> None:
        """Give an embedder to the grid, or take it away; one that comes fills the outbox with what it lacks."""
        wanted = [MODEL] if has_embedder else []
        self.both(lambda store: store.use_models(wanted))
        for store in (self.store, self.model) if has_embedder else ():
            self.runner.run(_fill(store, self.now_us))

    @rule(scope=SCOPES, model=st.sampled_from(["m", "n"]), values=st.sampled_from([(1, 0), (0, 0, 1)]))
    def search_by_vector(self, scope: int, model: str, values: tuple[int, ...]) -> None:
        vector = QueryVector(model, np.array(values, np.float32))

        async def look(store: MemoryStore) -> list[Any]:
            where = self.scopes[scope]
            hits = await store.search(where, (), Filter(), now_us=self.now_us, limit=100, vector=vector)
            return sorted(_id(hit.doc) for hit in hits)

        self.both(look)

    @invariant()
    def they_show_the_same(self) -> None:
        now_us = self.now_us
        self.both(lambda store: store.namespaces(self.scopes[0].tenant, limit=9))
        for scope, wanted in itertools.product(self.scopes, [Filter(), Filter(tags=("x",)), Filter(user_id="u")]):
            self.both(lambda store, scope=scope, wanted=wanted: store.page(scope, wanted, now_us=now_us, limit=50))
        for scope in self.scopes:
            self.both(lambda store, scope=scope: _states(store, scope))
        for scope, memory_id in itertools.product(self.scopes, "abc"):
            self.both(lambda store, scope=scope, one=memory_id: store.read(scope, one, now_us=now_us))
            self.both(lambda store, scope=scope, one=memory_id: store.history(scope, one, now_us=now_us, limit=50))


async def _states(store: MemoryStore, scope: Scope) -> list[Any]:
    return sorted((await store.embedding_states(scope, ["a", "b", "c", "new0", "new1"])).items())


async def _fill(store: MemoryStore, now_us: int) -> None:
    after: int | None = 0
    while after is not None:
        after = await store.fill_outbox(MODEL, now_us=now_us, limit=1000, after=after)


def _id(doc: bytes) -> str:
    return str(msgspec.json.decode(doc)["id"])


#: Both stores number their changes alone, and one of them has seen more; the numbers take room in documents.
_NUMBERS = frozenset({"seq", "next_position", "position", "size_bytes"})


def _comparable(seen: Any) -> Any:
    """Return everything that must be alike."""
    if isinstance(seen, RagridError):
        told = ("current_version", "faults", "name", "limit")
        return type(seen), [getattr(seen, name, None) for name in told]
    if isinstance(seen, bytes):
        doc = msgspec.json.decode(seen) if seen else None
        return {name: value for name, value in doc.items() if name != "seq"} if doc else None
    if isinstance(seen, tuple | list):
        return [_comparable(one) for one in seen]
    if isinstance(seen, msgspec.Struct):
        members = msgspec.structs.asdict(seen)
        return {name: _comparable(value) for name, value in members.items() if name not in _NUMBERS}
    return seen


@pytest.fixture(params=["sqlite", "postgresql"])
def machine(request: pytest.FixtureRequest) -> Iterator[type[Stores]]:
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        if request.param == "sqlite":
            Stores.store = SqliteStore.open(Path(folder))
        else:
            Stores.store = runner.run(PostgresStore.open(request.getfixturevalue("memory_database")))
        Stores.runner = runner
        try:
            yield type(request.param, (Stores,), {})
        finally:
            runner.run(Stores.store.close())


@pytest.mark.timeout(0 if HISTORIES else 300)
def test_the_stores_agree(machine: type[Stores]) -> None:
    examples = HISTORIES or SHORT[machine.__name__]
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=examples, stateful_step_count=STEPS, deadline=None),
    )
