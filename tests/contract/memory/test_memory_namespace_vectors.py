"""Where the vectors of a namespace come from is a setting of it, and means the same in every store."""

from typing import Any

import msgspec
import numpy as np
import pytest

from ragrid.inference.embedder import normalise
from ragrid.services.memory.changes import Create, Delete, Patch, Replace, Scope
from ragrid.services.memory.errors import InvalidMemoryError
from ragrid.services.memory.exchange.lines import parse_line
from ragrid.services.memory.model import MemoryInput
from ragrid.services.memory.namespaces import Brought, Embedder, Namespace, NamespaceSettings, PutNamespace
from ragrid.services.memory.protocol.embeddings import Embedded
from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.protocol.search import QueryVector
from ragrid.services.memory.protocol.store import MemoryStore
from ragrid.services.memory.vectors import GivenVector

ACME = Scope("acme", "default")
OTHER = Scope("acme", "other")
EVIL = Scope("evil", "default")
NOW = 1_800_000_000_000_000
GRID = "minilm"


def unit(*values: float) -> Any:
    return normalise(np.array([values], np.float32))[0]


async def put(store: MemoryStore, memory_id: str, content: str, *, scope: Scope = ACME, **members: Any) -> None:
    await store.change(Replace(scope, memory_id, "alice", NOW, MemoryInput(content=content, **members)))


def vector(*values: float, model: str = "theirs") -> GivenVector:
    return GivenVector(model=model, values=values)


async def configure(store: MemoryStore, embedder: Embedder, *, scope: Scope = ACME) -> Namespace:
    return await store.put_namespace(PutNamespace(scope, "root", NOW, NamespaceSettings(embedder=embedder)))


async def brought_to(store: MemoryStore, scope: Scope = ACME) -> Brought | None:
    namespace = await store.namespace(scope)
    assert namespace is not None
    return namespace.room.brought


async def waiting(store: MemoryStore, model: str = GRID) -> list[str]:
    return sorted(one.text for one in await store.claim_texts(model, now_us=NOW, limit=99, characters=9999, lease_us=0))


async def embed(store: MemoryStore, model: str = GRID) -> None:
    due = await store.claim_texts(model, now_us=NOW, limit=99, characters=9999, lease_us=0)
    await store.store_vectors(model, [Embedded(one.position, one.digest, unit(1, 0)) for one in due])


async def near(store: MemoryStore, *values: float, model: str = "theirs", scope: Scope = ACME) -> list[str]:
    hits = await store.search(
        scope,
        (),
        Filter(),
        now_us=NOW,
        limit=9,
        vector=QueryVector(model, normalise(np.array([values], np.float32))[0]),
    )
    return sorted(msgspec.json.decode(hit.doc)["id"] for hit in hits)


async def states(store: MemoryStore, *ids: str, scope: Scope = ACME) -> list[str]:
    found = await store.embedding_states(scope, ids)
    return [found.get(one, "none") for one in ids]


@pytest.fixture
async def grid(store: MemoryStore) -> MemoryStore:
    """A store of a grid that has an embedder, which has answered."""
    await store.use_models([GRID])
    await put(store, "first", "x", scope=Scope("somebody", "default"))
    await embed(store)
    return store


async def test_each_namespace_has_a_model_of_its_own(store: MemoryStore) -> None:
    for scope, model, values in ((ACME, "one", (1, 0)), (OTHER, "two", (1, 0)), (EVIL, "one", (0, 0, 1))):
        await put(store, "k", "tea", scope=scope, embedding=vector(*values, model=model))
        assert await brought_to(store, scope) == Brought(model, len(values))
    assert await near(store, 1, 0, model="one") == ["k"]
    assert await near(store, 1, 0, model="two") == await near(store, 0, 0, 1, model="one") == []
    assert await near(store, 1, 0, model="two", scope=OTHER) == ["k"]
    assert await near(store, 1, 0, model="one", scope=OTHER) == []
    assert await near(store, 0, 0, 1, model="one", scope=EVIL) == ["k"]
    for scope, given in ((ACME, vector(1, 0, model="two")), (EVIL, vector(1, 0, model="one"))):
        with pytest.raises(InvalidMemoryError):
            await put(store, "l", "tea", scope=scope, embedding=given)
    await put(store, "l", "tea", embedding=vector(0, 1, model="one"))
    assert await near(store, 1, 1, model="one") == ["k", "l"]


async def test_the_first_of_a_batch_names_the_model(store: MemoryStore) -> None:
    changes = [
        Create(ACME, f"k{number}", "alice", NOW, MemoryInput(content="tea", embedding=vector(*values)))
        for number, values in enumerate([(1, 0), (1, 0, 0), (0, 1)])
    ]
    refused = await store.change_all(changes, is_atomic=True)
    assert isinstance(refused[1], InvalidMemoryError)
    assert await store.namespace(ACME) is None
    results = await store.change_all(changes, is_atomic=False)
    assert [isinstance(one, InvalidMemoryError) for one in results] == [False, True, False]
    assert (await brought_to(store), await near(store, 1, 1)) == (Brought("theirs", 2), ["k0", "k2"])


async def test_a_refused_change_names_no_model(store: MemoryStore) -> None:
    with pytest.raises(InvalidMemoryError):
        await put(store, "k", "tea", embedding=vector(1, 0), supersedes=("nobody",))
    await put(store, "k", "tea", embedding=vector(1, 0, 0, model="another"))
    assert await brought_to(store) == Brought("another", 3)


async def test_a_namespace_made_anew_may_have_another_model(store: MemoryStore) -> None:
    await put(store, "k", "tea", embedding=vector(1, 0))
    await store.delete_namespace(ACME)
    await put(store, "k", "tea", embedding=vector(0, 1, model="another"))
    assert (await near(store, 1, 1), await near(store, 1, 1, model="another")) == ([], ["k"])


async def test_no_text_of_a_namespace_without_vectors_waits(grid: MemoryStore) -> None:
    made = await configure(grid, "none")
    assert (made.version, made.room.settings.embedder) == (1, "none")
    await put(grid, "a", "tea")
    await put(grid, "a", "tea at four")
    await put(grid, "b", "shared", scope=OTHER)
    assert await waiting(grid) == ["shared"]
    assert await grid.fill_outbox(GRID, now_us=NOW, limit=99) is None
    assert await waiting(grid) == ["shared"]
    assert await grid.embedder_of(ACME) == "none"
    assert (await states(grid, "a"), await states(grid, "b", scope=OTHER)) == (["none"], ["pending"])
    for model, values in ((GRID, (1, 0)), ("theirs", (1, 0, 0))):
        with pytest.raises(InvalidMemoryError) as refusal:
            await put(grid, "c", "tea", embedding=vector(*values, model=model))
        assert refusal.value.faults == (
            ("/embedding", "the namespace keeps no vectors (its setting `embedder` is none)"),
        )


async def test_what_was_there_goes_and_comes_again(grid: MemoryStore) -> None:
    for memory_id in ("a", "b"):
        await put(grid, memory_id, f"tea {memory_id}")
    await embed(grid)
    await put(grid, "waits", "coffee")
    await put(grid, "stays", "milk", scope=OTHER)
    await embed(grid) if await near(grid, 1, 0, model=GRID) != ["a", "b"] else None
    (line,) = [one for one in await due_lines(grid) if one.text == "coffee"]
    await configure(grid, "none")
    assert await waiting(grid) == ["milk"]
    await grid.store_vectors(GRID, [Embedded(line.position, line.digest, unit(1, 0))])  # it was on its way
    assert await near(grid, 1, 0, model=GRID) == []
    assert await states(grid, "a", "b", "waits") == ["none"] * 3
    await put(grid, "b", "tea, changed")
    await grid.change(Delete(ACME, "waits", "alice", NOW))
    await configure(grid, "grid")
    assert await waiting(grid) == ["milk", "tea a", "tea, changed"]
    assert await states(grid, "a", "b") == ["pending"] * 2
    await embed(grid)
    assert await near(grid, 1, 0, model=GRID) == ["a", "b"]


async def due_lines(store: MemoryStore) -> Any:
    return await store.claim_texts(GRID, now_us=NOW, limit=99, characters=9999, lease_us=0)


async def test_vectors_may_come_with_memories_in_a_grid_with_an_embedder(grid: MemoryStore) -> None:
    await put(grid, "made", "tea")
    await embed(grid)
    await configure(grid, "given")
    assert (await near(grid, 1, 0, model=GRID), await states(grid, "made")) == ([], ["none"])
    await put(grid, "a", "tea", embedding=vector(0, 0, 1))
    await put(grid, "b", "no vector")
    assert (await waiting(grid), await near(grid, 0, 0, 1)) == ([], ["a"])
    assert await states(grid, "made", "a", "b") == ["none", "ready", "none"]
    with pytest.raises(InvalidMemoryError, match="wanted the model of the vectors that this namespace has"):
        await put(grid, "c", "tea", embedding=vector(1, 0, model=GRID))
    await grid.change(Patch(ACME, "a", "bob", NOW, {"importance": 1}))
    assert await near(grid, 0, 0, 1) == ["a"]
    await put(grid, "a", "another text")
    assert await near(grid, 0, 0, 1) == []


async def test_brought_vectors_wait_aside_for_their_setting(grid: MemoryStore) -> None:
    await configure(grid, "given")
    await put(grid, "a", "tea", embedding=vector(0, 1))
    await put(grid, "b", "tea", embedding=vector(0, 1))
    await configure(grid, "grid")
    assert (await near(grid, 0, 1), await waiting(grid)) == ([], ["tea", "tea"])
    await embed(grid)
    await put(grid, "b", "another text")
    assert await near(grid, 1, 0, model=GRID) == ["a"]
    await configure(grid, "given")
    assert (await near(grid, 0, 1), await near(grid, 1, 0, model=GRID), await waiting(grid)) == (["a"], [], [])
    assert await brought_to(grid) == Brought("theirs", 2)
    none = await configure(grid, "none")
    assert none.room.brought is None
    await configure(grid, "given")
    assert await near(grid, 0, 1) == []
    await put(grid, "a", "tea", embedding=vector(1, 0, model="another"))
    assert await near(grid, 1, 0, model="another") == ["a"]


async def test_an_embedder_that_comes_and_goes_leaves_brought_vectors_alone(store: MemoryStore) -> None:
    await put(store, "a", "tea", embedding=vector(0, 1))
    await configure(store, "given", scope=OTHER)
    await put(store, "a", "tea", scope=OTHER, embedding=vector(0, 1))
    await store.use_models([GRID])
    await store.fill_outbox(GRID, now_us=NOW, limit=99)
    assert await waiting(store) == ["tea"]
    assert (await near(store, 0, 1), await near(store, 0, 1, scope=OTHER)) == ([], ["a"])
    await store.use_models(["theirs"])  # another of the same name: its own vectors are made anew
    await store.fill_outbox("theirs", now_us=NOW, limit=99)
    await embed(store, "theirs")
    assert (await near(store, 1, 0), await near(store, 0, 1)) == (["a"], [])
    assert await near(store, 0, 1, scope=OTHER) == ["a"]


async def test_an_export_carries_the_setting_and_what_was_brought(grid: MemoryStore) -> None:
    await configure(grid, "given")
    await configure(grid, "none", scope=OTHER)
    await put(grid, "a", "tea", embedding=vector(0, 1))
    lines = b"".join([chunk.text async for chunk in grid.export("acme", None, now_us=NOW)]).splitlines(keepends=True)
    assert [line.count(b'"embedder":"given"') for line in lines] == [1, 0, 0]
    for namespace in ("default", "other"):
        await grid.delete_namespace(Scope("acme", namespace))
    copies: Any = [parse_line(line, tenant="acme", namespace=None) for line in lines]
    assert all(one.is_new for one in await grid.take(copies, now_us=NOW, is_atomic=False))
    again = b"".join([chunk.text async for chunk in grid.export("acme", None, now_us=NOW)])
    assert again == b"".join(lines)
    assert (await near(grid, 0, 1), await waiting(grid)) == (["a"], [])
    elsewhere = [parse_line(lines[1], tenant="acme", namespace="other")]
    await grid.take(elsewhere, now_us=NOW, is_atomic=False)  # type: ignore[arg-type]  # no header, no end
    assert (await states(grid, "a", scope=OTHER), await waiting(grid)) == (["none"], [])
