"""Whatever is done to a durable store and to the one in memory, in whatever order, they show the same.

`MEMORY_HISTORIES=500` for the long proof: so many histories of 50 steps for each.
"""

import asyncio
import itertools
import os
import tempfile
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import msgspec
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
    OnDuplicate,
    Patch,
    Purge,
    Replace,
    Restore,
    Scope,
)
from ragrid.services.memory.inmemory.store import InMemoryStore
from ragrid.services.memory.model import MemoryInput
from ragrid.services.memory.postgresql.store import PostgresStore
from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.protocol.store import MemoryStore
from ragrid.services.memory.sqlite.store import SqliteStore

SECOND = 1_000_000
#: Histories, and steps of each; PostgreSQL has fewer of them in a quick run: each look is a round trip.
LONG = int(os.environ.get("MEMORY_HISTORIES", "0"))
HISTORIES = {"sqlite": LONG or 25, "postgresql": LONG or 8}
STEPS = 50 if LONG else 25
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


class Stores(RuleBasedStateMachine):
    """Two stores, one sequence of changes, one clock."""

    runner: asyncio.Runner
    durable: MemoryStore
    numbers = itertools.count()

    @initialize()
    def start(self) -> None:
        number = next(self.numbers)
        self.scopes = [Scope(f"t{number}", "one"), Scope(f"t{number}", "two")]
        self.inmemory = InMemoryStore()
        self.now_us = 1_800_000_000 * SECOND + number * 1000 * SECOND
        self.created = itertools.count()

    def both(self, call: Any) -> None:
        """Do one thing to both, and find that they answer alike."""
        assert self.seen(call(self.durable)) == self.seen(call(self.inmemory))

    def seen(self, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            return _without_seq(self.runner.run(work))
        except RagridError as error:
            return type(error), getattr(error, "current_version", None), getattr(error, "faults", None)

    def change(self, change: Change) -> None:
        self.both(lambda store: store.change(change))

    @rule(scope=st.integers(0, 1), memory_id=IDS, given=GIVEN, condition=CONDITIONS)
    def replace(self, scope: int, memory_id: str, given: MemoryInput, condition: Condition) -> None:
        self.change(Replace(self.scopes[scope], memory_id, "al", self.now_us, given, condition))

    @rule(
        scope=st.integers(0, 1),
        given=GIVEN,
        key=st.sampled_from([None, "k1", "k2"]),
        print_=st.sampled_from([b"1", b"2"]),
        on_duplicate=st.sampled_from([None, "keep", "return", "supersede"]),
    )
    def create(
        self, scope: int, given: MemoryInput, key: str | None, print_: bytes, on_duplicate: OnDuplicate | None
    ) -> None:
        idempotency = Idempotency(key, print_) if key else None
        memory_id = f"new{next(self.created)}"
        self.change(
            Create(self.scopes[scope], memory_id, "al", self.now_us, given, idempotency, on_duplicate=on_duplicate)
        )

    @rule(scope=st.integers(0, 1), memory_id=IDS, patch=PATCHES, condition=CONDITIONS)
    def patch(self, scope: int, memory_id: str, patch: dict[str, Any], condition: Condition) -> None:
        self.change(Patch(self.scopes[scope], memory_id, "bo", self.now_us, patch, condition))

    @rule(scope=st.integers(0, 1), memory_id=IDS, condition=CONDITIONS)
    def delete(self, scope: int, memory_id: str, condition: Condition) -> None:
        self.change(Delete(self.scopes[scope], memory_id, "bo", self.now_us, condition))

    @rule(scope=st.integers(0, 1), memory_id=IDS, version=st.sampled_from([None, 1, 2, 3]), condition=CONDITIONS)
    def restore(self, scope: int, memory_id: str, version: int | None, condition: Condition) -> None:
        self.change(Restore(self.scopes[scope], memory_id, "bo", self.now_us, version, condition))

    @rule(scope=st.integers(0, 1), memory_id=IDS)
    def purge(self, scope: int, memory_id: str) -> None:
        self.change(Purge(self.scopes[scope], memory_id, "bo", self.now_us))

    @rule(seconds=st.integers(1, 4))
    def wait(self, seconds: int) -> None:
        self.now_us += seconds * SECOND

    @rule()
    def sweep(self) -> None:
        for store in (self.durable, self.inmemory):
            self.runner.run(store.sweep(now_us=self.now_us, limit=1000))

    @rule(word=WORDS, tags=TAGS, user_id=st.sampled_from([None, "u"]))
    def search(self, word: str, tags: tuple[str, ...], user_id: str | None) -> None:
        wanted = Filter(tags=tags, user_id=user_id)

        async def look(store: MemoryStore) -> list[bytes]:
            hits = await store.search(self.scopes[0], (word,), wanted, now_us=self.now_us, limit=100)
            return sorted(hit.doc for hit in hits)  # how rare a word is, is counted over another set of documents

        self.both(look)

    @invariant()
    def they_show_the_same(self) -> None:
        for scope, wanted in itertools.product(self.scopes, [Filter(), Filter(tags=("x",)), Filter(user_id="u")]):
            self.both(lambda store, scope=scope, wanted=wanted: store.page(scope, wanted, now_us=self.now_us, limit=50))
        for scope, memory_id in itertools.product(self.scopes, "abc"):
            self.both(lambda store, scope=scope, one=memory_id: store.read(scope, one, now_us=self.now_us))
            self.both(lambda store, scope=scope, one=memory_id: store.history(scope, one, now_us=self.now_us, limit=50))


def _without_seq(seen: Any) -> Any:
    """Both stores number their changes alone, and one of them has seen more: compare everything else."""
    if isinstance(seen, bytes):
        doc = msgspec.json.decode(seen) if seen else None
        return {name: value for name, value in doc.items() if name != "seq"} if doc else None
    if isinstance(seen, tuple | list):
        return [_without_seq(one) for one in seen]
    if isinstance(seen, msgspec.Struct):
        members = msgspec.structs.asdict(seen)
        return {name: _without_seq(value) for name, value in members.items() if name not in {"seq", "next_position"}}
    return seen


@pytest.fixture(params=["sqlite", "postgresql"])
def machine(request: pytest.FixtureRequest) -> Iterator[type[Stores]]:
    """The histories, ready to be lived through by a durable store of the kind that the test is run for."""
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        Stores.runner = runner
        if request.param == "sqlite":
            Stores.durable = SqliteStore.open(Path(folder))
        else:
            Stores.durable = runner.run(PostgresStore.open(request.getfixturevalue("memory_database")))
        try:
            yield Stores
        finally:
            runner.run(Stores.durable.close())


@pytest.mark.timeout(0 if LONG else 300)
def test_the_stores_agree(machine: type[Stores], request: pytest.FixtureRequest) -> None:
    histories = HISTORIES[request.node.callspec.params["machine"]]
    wanted = settings(max_examples=histories, stateful_step_count=STEPS, deadline=None)
    run_state_machine_as_test(machine, settings=wanted)
