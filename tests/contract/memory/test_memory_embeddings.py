"""The outbox, the vectors and the searches over them mean the same in every store."""

from typing import Any, Protocol

import msgspec
import numpy as np
import pytest

from ragrid.errors import RagridError
from ragrid.inference.embedder import FloatArray, normalise
from ragrid.services.memory.changes import Delete, Patch, Replace, Scope
from ragrid.services.memory.errors import InvalidMemoryError
from ragrid.services.memory.filters.model import Term
from ragrid.services.memory.model import MemoryInput
from ragrid.services.memory.protocol.embeddings import Due, Embedded, Embeddings, Model, Models, Refused
from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.protocol.search import Hit, QueryVector
from ragrid.services.memory.protocol.store import MemoryStore
from ragrid.services.memory.ranking.fusion import Ranking
from ragrid.services.memory.vectors import GivenVector
from ragrid.services.memory.words import words_of

ACME = Scope("acme", "default")
NOW = 1_800_000_000_000_000
SECOND = 1_000_000
MODEL = "first"


class Store(MemoryStore, Embeddings, Protocol):
    """Both halves of what is tested here."""


def unit(*values: float) -> FloatArray:
    row: FloatArray = normalise(np.array([values], np.float32))[0]
    return row


#: What the words of the tests mean.
MEANINGS = {
    "tea": unit(1, 0, 0, 0),
    "brew": unit(0.9, 0.1, 0, 0),
    "car": unit(0, 0, 1, 0),
    "cart": unit(0, 0, 0.8, 0.6),
}


async def put(
    store: Store, memory_id: str, content: str, *, at_us: int = NOW, scope: Scope = ACME, **members: Any
) -> None:
    await store.change(Replace(scope, memory_id, "alice", at_us, MemoryInput(content=content, **members)))


async def due(store: Store, model: str = MODEL, *, now_us: int = NOW, limit: int = 100) -> list[Due]:
    return list(await store.claim_texts(model, now_us=now_us, limit=limit, characters=10_000, lease_us=0))


async def texts(store: Store, model: str = MODEL, *, now_us: int = NOW) -> list[str]:
    return [one.text for one in await due(store, model, now_us=now_us)]


async def embed(store: Store, model: str = MODEL, *, now_us: int = NOW + 100 * SECOND) -> int:
    """Do what the worker does, with the meanings above; return how many texts that were."""
    waiting = await due(store, model, now_us=now_us)
    await store.store_vectors(
        model, [Embedded(one.position, one.digest, MEANINGS[one.text.split()[0]]) for one in waiting]
    )
    return len(waiting)


async def near(
    store: Store, word: str, wanted: Filter | None = None, *, words: str = "", now_us: int = NOW, **how: Any
) -> list[str]:
    hits = await find(store, word, wanted, words=words, now_us=now_us, **how)
    return [msgspec.json.decode(hit.doc)["id"] for hit in hits]


async def find(
    store: Store,
    word: str,
    wanted: Filter | None = None,
    *,
    words: str = "",
    now_us: int = NOW,
    scope: Scope = ACME,
    limit: int = 10,
    model: str = MODEL,
    **ranking: Any,
) -> tuple[Hit, ...]:
    return await store.search(
        scope,
        words_of(words),
        wanted or Filter(),
        now_us=now_us,
        limit=limit,
        vector=QueryVector(model, MEANINGS[word]),
        ranking=Ranking(**ranking),
    )


@pytest.fixture
async def ready(store: Store) -> Store:
    await store.use_models([MODEL])
    return store


async def test_without_a_model_nothing_waits(store: Store) -> None:
    await put(store, "k", "tea")
    assert await store.models() == Models(None, None)
    assert await store.use_models([MODEL]) == Models(Model(MODEL, None), None)
    assert await due(store) == []


async def test_a_write_waits_in_the_outbox_until_its_vector_is_stored(ready: Store) -> None:
    await put(ready, "a", "tea", at_us=NOW - 5 * SECOND)
    await put(ready, "b", "car", data={"deep": ["wheel"]}, tags=("no",))
    assert await texts(ready) == ["tea", "car\nwheel"]
    outbox = await ready.outbox(MODEL)
    assert (outbox.waiting, outbox.given_up, outbox.oldest_us) == (2, 0, NOW - 5 * SECOND)
    assert await near(ready, "tea") == []
    assert await embed(ready) == 2
    assert await texts(ready) == []
    assert await near(ready, "tea") == ["a"]
    assert await ready.models() == Models(Model(MODEL, 4), None)


async def test_a_claim_keeps_to_its_limits_oldest_first(ready: Store) -> None:
    for number in range(5):
        await put(ready, f"k{number}", "tea " + "x" * 100, at_us=NOW + number)
    claimed = await ready.claim_texts(MODEL, now_us=NOW + 9, limit=100, characters=250, lease_us=0)
    assert len(claimed) == 2
    assert len(await ready.claim_texts(MODEL, now_us=NOW + 9, limit=100, characters=1, lease_us=0)) == 1
    assert len(await ready.claim_texts(MODEL, now_us=NOW + 9, limit=3, characters=9999, lease_us=0)) == 3


async def test_a_text_that_changed_meanwhile_waits_anew(ready: Store) -> None:
    await put(ready, "k", "tea")
    (old,) = await due(ready)
    await put(ready, "k", "car")
    await ready.store_vectors(MODEL, [Embedded(old.position, old.digest, MEANINGS["tea"])])
    assert await near(ready, "tea") == []
    assert await texts(ready) == ["car"]
    await embed(ready)
    assert await near(ready, "car") == ["k"]


async def test_a_changed_text_has_no_vector_until_it_is_embedded(ready: Store) -> None:
    await put(ready, "k", "tea")
    await embed(ready)
    assert await near(ready, "tea") == ["k"]
    await put(ready, "k", "car")
    assert await near(ready, "tea") == await near(ready, "car") == []
    await embed(ready)
    assert (await near(ready, "tea"), await near(ready, "car")) == ([], ["k"])


async def test_a_change_beside_the_text_keeps_the_vector(ready: Store) -> None:
    await put(ready, "k", "tea")
    await embed(ready)
    await ready.change(Patch(ACME, "k", "bob", NOW, {"importance": 1, "metadata": {"a": 1}, "tags": ["x"]}))
    assert await due(ready) == []
    assert await near(ready, "tea") == ["k"]


async def test_a_deleted_memory_leaves_outbox_and_vectors(ready: Store) -> None:
    await put(ready, "a", "tea")
    await embed(ready)
    await put(ready, "b", "brew")
    for memory_id in ("a", "b"):
        await ready.change(Delete(ACME, memory_id, "alice", NOW))
    assert await due(ready) == []
    assert await near(ready, "tea") == []
    await put(ready, "a", "car")
    await embed(ready)
    assert (await near(ready, "tea"), await near(ready, "car")) == ([], ["a"])


async def test_expiry_holds_for_vectors_at_the_very_microsecond(ready: Store) -> None:
    await put(ready, "k", "tea", ttl_seconds=10)
    await embed(ready)
    assert await near(ready, "tea", now_us=NOW + 10 * SECOND - 1) == ["k"]
    assert await near(ready, "tea", now_us=NOW + 10 * SECOND) == []
    await ready.sweep(now_us=NOW + 10 * SECOND, limit=10)
    assert (await ready.outbox(MODEL)).waiting == 0


async def test_a_memory_without_text_waits_for_nothing(ready: Store) -> None:
    await put(ready, "k", "", data={"number": 5})
    assert await due(ready) == []


async def test_a_refused_text_is_due_later_and_then_given_up_until_it_changes(ready: Store) -> None:
    await put(ready, "k", "tea")
    (one,) = await due(ready)
    await ready.note_refusals(MODEL, [Refused(one.position, one.digest, "too long", NOW + 5)])
    assert await due(ready, now_us=NOW + 4) == []
    (again,) = await due(ready, now_us=NOW + 5)
    assert again.attempts == 1
    await ready.note_refusals(MODEL, [Refused(one.position, one.digest, "too long", None)])
    assert await due(ready, now_us=NOW + 99 * SECOND) == []
    outbox = await ready.outbox(MODEL)
    assert (outbox.waiting, outbox.given_up) == (0, 1)
    await put(ready, "k", "tea two")
    assert await texts(ready) == ["tea two"]


async def test_what_was_given_up_is_due_again_on_demand_tenant_by_tenant(ready: Store) -> None:
    for scope in (ACME, Scope("other", "default")):
        await put(ready, "k", "tea", scope=scope)
    refused = [Refused(one.position, one.digest, "no", None) for one in await due(ready)]
    await ready.note_refusals(MODEL, refused)
    assert await ready.retry_refused(MODEL, tenant="acme", now_us=NOW) == 1
    assert len(await due(ready)) == 1
    assert await ready.retry_refused(MODEL, tenant=None, now_us=NOW) == 1


async def test_nearest_first_whoever_is_filtered_out(ready: Store) -> None:
    await put(ready, "tea", "tea", user_id="u")
    await put(ready, "brew", "brew", tags=("x",), metadata={"plan": "pro"})
    await put(ready, "car", "car", user_id="u")
    await put(ready, "cart", "cart", tags=("x", "y"))
    await embed(ready)
    assert await near(ready, "tea") == ["tea", "brew"]
    assert await near(ready, "car") == ["car", "cart"]
    assert await near(ready, "tea", Filter(tags=("x",))) == ["brew"]
    assert await near(ready, "car", Filter(user_id="u")) == ["car"]
    assert await near(ready, "tea", Filter(where=Term(("metadata", "plan"), "any", "eq", "pro"))) == ["brew"]
    assert await near(ready, "tea", Filter(user_id="nobody")) == []
    hits = await find(ready, "tea")
    assert hits[0].score == pytest.approx(1, abs=0.002)
    assert hits[1].score == pytest.approx(0.9939, abs=0.002)
    assert (hits[1].explanation.semantic_rank, hits[1].explanation.lexical_rank) == (2, None)


@pytest.mark.parametrize("scope", [Scope("evil", "default"), Scope("acme", "other")])
async def test_no_vector_crosses_the_walls(ready: Store, scope: Scope) -> None:
    await put(ready, "k", "tea")
    await put(ready, "o", "brew", scope=scope)
    await embed(ready)
    assert await near(ready, "tea", scope=scope) == ["o"]
    assert await near(ready, "tea") == ["k"]


async def test_a_filter_that_keeps_little_of_much_keeps_all_of_it(ready: Store) -> None:
    for number in range(600):
        await put(ready, f"k{number}", "tea", tags=("rare",) if number in {3, 400} else ())
    await put(ready, "far", "brew", tags=("rare",))
    while await embed(ready):
        pass
    assert await near(ready, "tea", Filter(tags=("rare",)), limit=3) == ["k400", "k3", "far"]
    by_words = await ready.search(ACME, ("tea",), Filter(tags=("rare",)), now_us=NOW, limit=3)
    assert [msgspec.json.decode(hit.doc)["id"] for hit in by_words] == ["k400", "k3"]
    assert len(await near(ready, "tea", limit=100)) == 100


async def test_hybrid_finds_by_words_and_by_meaning(ready: Store) -> None:
    await put(ready, "both", "tea in the morning")
    await put(ready, "meaning", "brew at noon")
    await put(ready, "unrelated", "car")
    for number in range(5):
        await put(ready, f"f{number}", "cart of other things")
    await embed(ready)
    await put(ready, "fresh", "tea that has no vector yet")
    found = await near(ready, "tea", words="tea")
    assert found[0] == "both"
    assert set(found) == {"both", "meaning", "fresh"}
    hits = {msgspec.json.decode(hit.doc)["id"]: hit for hit in await find(ready, "tea", words="tea")}
    assert hits["fresh"].explanation.semantic_rank is None
    assert hits["meaning"].explanation.lexical_rank is None
    assert hits["both"].explanation.fused == hits["both"].score
    assert all(0 < hit.score <= 1 for hit in hits.values())


async def test_recency_importance_and_least_score(ready: Store) -> None:
    day = 86_400 * SECOND
    await put(ready, "old", "tea", at_us=NOW - 10 * day, importance=1.0)
    await put(ready, "new", "brew", importance=0.1)
    await embed(ready)
    assert await near(ready, "tea") == ["old", "new"]
    assert await near(ready, "tea", half_life_s=86_400.0) == ["new", "old"]
    assert await near(ready, "tea", half_life_s=86_400.0, importance_weight=1.0, min_score=0.05) == ["new"]
    assert await near(ready, "tea", min_score=0.999) == ["old"]
    (hit,) = await find(ready, "tea", half_life_s=86_400.0 * 10, limit=1)
    assert hit.explanation.recency in (pytest.approx(0.5), pytest.approx(1.0))


async def test_what_was_superseded_is_left_out_unless_asked_for(ready: Store) -> None:
    await put(ready, "old", "tea")
    await put(ready, "new", "tea again", supersedes=("old",))
    await embed(ready)
    assert await near(ready, "tea") == await near(ready, "tea", words="tea") == ["new"]
    assert set(await near(ready, "tea", include_superseded=True)) == {"old", "new"}
    assert set(await near(ready, "tea", words="tea", include_superseded=True)) == {"old", "new"}


async def test_vectors_of_another_size_are_refused_whole(ready: Store) -> None:
    await put(ready, "a", "tea")
    await embed(ready)
    await put(ready, "b", "tea")
    (one,) = await due(ready)
    with pytest.raises(RagridError, match="got a vector of 2 members, wanted 4"):
        await ready.store_vectors(MODEL, [Embedded(one.position, one.digest, unit(1, 1))])
    assert len(await due(ready)) == 1
    hits = await ready.search(ACME, (), Filter(), now_us=NOW, limit=5, vector=QueryVector(MODEL, unit(1, 1)))
    assert hits == ()


async def test_a_model_is_filled_in_beside_the_other_and_takes_its_place_when_complete(ready: Store) -> None:
    for number in range(5):
        await put(ready, f"k{number}", "tea")
    await embed(ready)
    assert await ready.use_models([MODEL, "second"]) == Models(Model(MODEL, 4), Model("second", None))
    after: int | None = 0
    while after is not None:
        after = await ready.fill_outbox("second", now_us=NOW, limit=2, after=after)
    assert (await ready.outbox("second")).waiting == 5
    assert await ready.switch_model("second") is False
    await put(ready, "new", "brew")  # meanwhile: waits for both
    assert (len(await due(ready)), len(await due(ready, "second"))) == (1, 6)
    assert await embed(ready, "second") == 6
    assert len(await near(ready, "tea")) == 5
    assert await ready.switch_model("second") is True
    assert await ready.models() == Models(Model("second", 4), None)
    assert len(await near(ready, "tea", model="second")) == 6
    assert await due(ready) == []  # nothing waits for the old one any more
    # After a restart with the same settings the new one stays; without the old one, its vectors go.
    assert (await ready.use_models([MODEL, "second"])).active == Model("second", 4)
    assert (await ready.use_models(["second"])).active == Model("second", 4)
    assert await ready.drop_vectors(limit=3) is True
    while await ready.drop_vectors(limit=3):
        pass
    assert await near(ready, "tea") == []
    assert len(await near(ready, "tea", model="second")) == 6


async def test_another_model_from_one_start_to_the_next_begins_anew(ready: Store) -> None:
    await put(ready, "k", "tea")
    await embed(ready)
    assert (await ready.use_models(["second"])).active == Model("second", None)
    assert await ready.fill_outbox("second", now_us=NOW, limit=10) is None
    await embed(ready, "second")
    assert await near(ready, "tea", model="second") == ["k"]


async def test_without_an_embedder_vectors_are_kept_and_nothing_waits(ready: Store) -> None:
    await put(ready, "a", "tea")
    await embed(ready)
    assert (await ready.use_models([])).active == Model(MODEL, 4)
    await put(ready, "b", "tea")
    assert await due(ready) == []
    assert await near(ready, "tea") == ["a"]
    await ready.use_models([MODEL])
    await ready.fill_outbox(MODEL, now_us=NOW, limit=10)
    assert await texts(ready) == ["tea"]


async def test_filling_looks_only_for_what_is_missing(store: Store) -> None:
    for number in range(3):
        await put(store, f"k{number}", "tea")
    await store.change(Delete(ACME, "k1", "alice", NOW))
    await store.use_models([MODEL])
    assert await store.fill_outbox(MODEL, now_us=NOW, limit=10) is None
    assert len(await due(store)) == 2
    await embed(store)
    await put(store, "k0", "car")
    assert await store.fill_outbox(MODEL, now_us=NOW, limit=10) is None
    assert await texts(store) == ["car"]


def brought(values: tuple[float, ...], model: str = MODEL) -> dict[str, Any]:
    return {"embedding": GivenVector(model=model, values=values)}


async def test_a_vector_that_the_caller_brings_is_searched_at_once(ready: Store) -> None:
    await put(ready, "a", "tea")
    await embed(ready)
    await put(ready, "b", "tea too", **brought((0, 0, 5, 0)))
    assert await due(ready) == []
    assert await near(ready, "car") == ["b"]
    await put(ready, "b", "tea too", **brought((2, 0, 0, 0)))  # another vector for the same text
    assert (await near(ready, "car"), set(await near(ready, "tea"))) == ([], {"a", "b"})
    await ready.change(Patch(ACME, "b", "bob", NOW, {"importance": 1}))
    assert set(await near(ready, "tea")) == {"a", "b"}
    await put(ready, "b", "another text")  # the vector was of the old one
    assert (await near(ready, "tea"), await texts(ready)) == (["a"], ["another text"])


async def test_a_vector_is_no_member_of_the_document_and_a_patch_can_bring_one(ready: Store) -> None:
    await put(ready, "a", "tea")
    await embed(ready)
    patch = {"embedding": {"model": MODEL, "values": [0, 0, 1, 0]}}
    written = await ready.change(Patch(ACME, "a", "bob", NOW, patch))
    assert "embedding" not in msgspec.json.decode(written.doc)
    assert await near(ready, "car") == ["a"]


@pytest.mark.parametrize(
    ("values", "model", "pointer", "says"),
    [
        ((1.0,), MODEL, "/embedding/values", "got 1 members, wanted 4"),
        ((1.0, 0, 0, 0), "other", "/embedding/model", "got 'other', wanted 'first'"),
    ],
)
async def test_a_vector_that_fits_no_model_in_use_is_refused(
    ready: Store, values: tuple[float, ...], model: str, pointer: str, says: str
) -> None:
    await put(ready, "a", "tea")
    with pytest.raises(InvalidMemoryError, match="has not answered yet"):
        await put(ready, "b", "tea", **brought((1, 0, 0, 0)))
    await embed(ready)
    with pytest.raises(InvalidMemoryError) as refusal:
        await put(ready, "b", "tea", **brought(values, model))
    ((where, what),) = refusal.value.faults
    assert where == pointer
    assert says in what
    assert await ready.read(ACME, "b", now_us=NOW) is None


async def test_without_an_embedder_the_first_vector_names_the_model(store: Store) -> None:
    await store.use_models([])
    await put(store, "a", "tea", **brought((1, 0, 0, 0), "theirs"))
    assert (await store.models()).active is None
    await put(store, "b", "no vector")
    assert await near(store, "brew", model="theirs") == ["a"]
    # What the model is called is told to those who may read the settings.
    with pytest.raises(InvalidMemoryError, match="got 'other', wanted the model of the vectors that this namespace"):
        await put(store, "c", "tea", **brought((1, 0, 0, 0), "other"))
    await put(store, "a", "changed")
    assert await near(store, "brew", model="theirs") == []


async def test_each_memory_says_whether_it_has_its_vector(store: Store) -> None:
    ids = ["done", "waits", "refused", "silent", "gone", "nobody"]
    await put(store, "done", "tea")
    assert set((await store.embedding_states(ACME, ids)).values()) <= {"none"}
    await store.use_models([MODEL])
    await store.fill_outbox(MODEL, now_us=NOW, limit=10)
    await embed(store)
    await put(store, "refused", "tea")
    (one,) = await due(store)
    await store.note_refusals(MODEL, [Refused(one.position, one.digest, "no", None)])
    await put(store, "waits", "tea")
    await put(store, "silent", "", data={"n": 1})
    await put(store, "gone", "tea")
    await store.change(Delete(ACME, "gone", "alice", NOW))
    assert dict(await store.embedding_states(ACME, ids)) == {
        "done": "ready",
        "waits": "pending",
        "refused": "failed",
        "silent": "none",
    }
    assert await store.embedding_states(Scope("evil", "default"), ids) == {}
