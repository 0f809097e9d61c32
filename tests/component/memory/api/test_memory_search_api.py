"""Searches as a caller of the API sees them, with an embedder that needs no model."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest

from ragrid.inference.embedder import FloatArray
from ragrid.inference.hashing import HashingEmbedder
from ragrid.services.memory.embedding.lazy import LazyEmbedder
from ragrid.services.memory.embedding.meaning import Meaning
from ragrid.services.memory.inmemory.store import InMemoryStore
from ragrid.services.memory.protocol.embeddings import Refused
from ragrid.services.memory.service import build_memory_application
from support.memory_calls import Caller
from support.token_mint import TokenMint

REEMBED = "/memory/v1/admin/reembed"


class Whole(Caller):
    """A caller that names whole paths."""

    base = ""


class Bench:
    """A caller, and the worker behind the service that it calls."""

    def __init__(self, client: httpx.AsyncClient, caller: Caller, meaning: Meaning, store: InMemoryStore) -> None:
        self.client = client
        self.caller = caller
        self.meaning = meaning
        self.store = store

    async def embed(self) -> None:
        """Let the worker do what is to be done."""
        while await self.meaning.worker.turn():
            pass

    async def search(self, **body: Any) -> dict[str, Any]:
        answer = await self.caller.call("POST", "/search", json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


def ids(found: dict[str, Any]) -> list[str]:
    return [one["memory"]["id"] for one in found["results"]]


@pytest.fixture
async def bench(mint: TokenMint) -> AsyncIterator[Bench]:
    store = InMemoryStore()
    meaning = Meaning(store, [LazyEmbedder("hashing", HashingEmbedder)], mint.clock)
    await store.use_models(["hashing"])
    application = build_memory_application(store, mint.verifier(), mint.clock, prefix="/memory", meaning=meaning)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://memory") as client:
        one = Bench(client, Caller(client, mint.token(sub="alice", tenant="acme")), meaning, store)
        await one.embed()
        yield one
    await meaning.close()


async def test_hybrid_is_the_default_where_there_is_an_embedder(bench: Bench) -> None:
    made = await bench.caller.create(content="Ada brews green tea")
    fresh = await bench.search(query="tea")
    assert (fresh["mode_used"], ids(fresh)) == ("hybrid", [made["id"]])  # found by its words before it has a vector
    await bench.embed()
    assert ids(await bench.search(query="brewing teas", mode="semantic")) == [made["id"]]
    assert ids(await bench.search(query="brewing teas", mode="lexical")) == []
    assert ids(await bench.search(query="brewing teas")) == [made["id"]]


async def test_an_explanation_says_where_a_score_comes_from(bench: Bench) -> None:
    await bench.caller.create(content="green tea", importance=1.0)
    await bench.caller.create(content="black coffee")
    await bench.embed()
    plain = await bench.search(query="tea")
    assert "explain" not in plain["results"][0]
    found = await bench.search(query="tea", explain=True, recency_half_life=60, importance_weight=0.5)
    explain = found["results"][0]["explain"]
    assert (explain["lexical_rank"], explain["semantic_rank"]) == (1, 1)
    assert (explain["bm25"], explain["fused"], explain["recency"], explain["importance"]) == (1, 1, 1, 1)
    assert 0 < explain["similarity"] <= 1
    words = await bench.search(query="tea", mode="lexical", explain=True)
    assert words["results"][0]["explain"] == {"lexical_rank": 1, "bm25": 1.0}


async def test_filters_hold_in_every_mode(bench: Bench) -> None:
    await bench.caller.create(content="tea", user_id="eve")
    mine = await bench.caller.create(content="tea", user_id="ada")
    await bench.embed()
    for mode in ("lexical", "semantic", "hybrid"):
        assert ids(await bench.search(query="tea", mode=mode, filter={"user_id": "ada"})) == [mine["id"]]


async def test_a_least_score_leaves_the_rest_out(bench: Bench) -> None:
    best = await bench.caller.create(content="green tea")
    await bench.caller.create(content="a green car that drives to a far away town")
    await bench.embed()
    assert len(ids(await bench.search(query="green tea", mode="semantic"))) == 2
    assert ids(await bench.search(query="green tea", mode="semantic", min_score=0.8)) == [best["id"]]


async def test_a_question_may_come_as_a_vector(bench: Bench) -> None:
    made = await bench.caller.create(content="green tea")
    await bench.embed()
    values = (await HashingEmbedder().embed(["green tea"]))[0].tolist()
    found = await bench.search(vector={"model": "hashing", "values": values})
    assert (found["mode_used"], ids(found)) == ("semantic", [made["id"]])
    found = await bench.search(query="green", vector={"model": "hashing", "values": values})
    assert (found["mode_used"], ids(found)) == ("hybrid", [made["id"]])


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"query": "?!"}, "/query"),
        ({}, "/query"),
        ({"query": "x", "mode": "magic"}, "/mode"),
        ({"query": "x", "k": 101}, "/k"),
        ({"query": "x", "min_score": 2}, "/min_score"),
        ({"query": "x", "recency_half_life": 0}, "/recency_half_life"),
        ({"query": "x", "importance_weight": -1}, "/importance_weight"),
        ({"vector": {"model": "m", "values": []}}, "/vector/values"),
        ({"vector": {"model": "m", "values": [0] * 4097}}, "/vector/values"),
        ({"query": "x", "explian": True}, "/explian"),
    ],
)
async def test_what_makes_no_question_is_refused_where_it_stands(bench: Bench, body: Any, pointer: str) -> None:
    answer = await bench.caller.call("POST", "/search", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-body")
    assert [one["pointer"] for one in answer.json()["errors"]] == [pointer]


async def test_a_memory_may_bring_its_vector(bench: Bench) -> None:
    values = (await HashingEmbedder().embed(["green tea"]))[0].tolist()
    made = await bench.caller.create(content="unrelated", embedding={"model": "hashing", "values": values})
    assert ids(await bench.search(query="green tea", mode="semantic")) == [made["id"]]
    for embedding, pointer in (
        ({"model": "hashing", "values": [0, 0]}, "/embedding/values"),
        ({"model": "hashing", "values": [1, 2]}, "/embedding/values"),
        ({"model": "else", "values": values}, "/embedding/model"),
        ({"model": "hashing", "values": ["x"]}, "/embedding/values/0"),
    ):
        answer = await bench.caller.call("POST", json={"content": "x", "embedding": embedding})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid-memory")
        assert [one["pointer"] for one in answer.json()["errors"]] == [pointer]


async def test_the_embedding_status_is_told_on_demand_and_never_under_an_etag(bench: Bench) -> None:
    made = await bench.caller.create(content="green tea")
    path, include = f"/{made['id']}", {"include": "embedding_status"}
    one = await bench.caller.call("GET", path, params=include)
    assert (one.json(), "etag" in one.headers) == ({**made, "embedding_status": "pending"}, False)
    await bench.embed()
    assert (await bench.caller.call("GET", path, params=include)).json()["embedding_status"] == "ready"
    assert (await bench.caller.call("GET", path)).json() == made
    listed = (await bench.caller.call("GET", params=include)).json()["memories"]
    assert listed == [{**made, "embedding_status": "ready"}]
    found = await bench.search(query="tea", include=["embedding_status"])
    assert found["results"][0]["memory"] == listed[0]
    for params in ({"include": "all"}, {**include, "version": 1}):
        assert (await bench.caller.call("GET", path, params=params)).status_code == 400
    answer = await bench.caller.call("POST", json={"content": "x", "embedding_status": "ready"})
    assert answer.json()["errors"][0]["detail"] == "'embedding_status' is set by the service; leave it out"


async def test_embedding_again_is_a_job_that_ends_when_nothing_waits(bench: Bench, mint: TokenMint) -> None:
    made = await bench.caller.create(content="green tea")
    (due,) = await bench.store.claim_texts("hashing", now_us=2**60, limit=1, characters=1, lease_us=0)
    await bench.store.note_refusals("hashing", [Refused(due.position, due.digest, "no", None)])
    writer = Whole(bench.client, mint.token(sub="bob", tenant="acme", scope="memory:read memory:write"))
    assert (await writer.call("POST", REEMBED)).status_code == 403
    admin = Whole(bench.client, mint.token(sub="alice", tenant="acme", scope="memory:read memory:admin"))
    started = await admin.call("POST", REEMBED)
    assert (started.status_code, started.json()["kind"]) == (202, "reembed")
    while (await bench.store.outbox("hashing")).given_up:  # noqa: ASYNC110 - until the job's task has had its turn
        await asyncio.sleep(0)
    await bench.embed()
    job: dict[str, Any] = {"state": "running"}
    while job["state"] == "running":  # it looks again after 0.1 s
        await asyncio.sleep(0.01)
        job = (await admin.call("GET", started.headers["location"])).json()
    assert (job["state"], job["result"]) == ("done", {"retried": 1, "model": "hashing", "state": "complete"})
    assert ids(await bench.search(query="green tea", mode="semantic")) == [made["id"]]


async def test_without_a_model_there_is_nothing_to_embed_again(client: httpx.AsyncClient, mint: TokenMint) -> None:
    token = mint.token(sub="alice", tenant="acme", scope="memory:admin")
    answer = await Whole(client, token).call("POST", REEMBED)
    assert (answer.status_code, answer.json()["code"]) == (409, "no-embedder")
    brought = {"content": "tea", "embedding": {"model": "of-another-tenant", "values": [1, 0]}}
    other = Caller(client, mint.token(tenant="evil"))
    assert (await other.call("POST", json=brought)).status_code == 201
    answer = await Whole(client, token).call("POST", REEMBED)
    assert (answer.status_code, "of-another-tenant" in answer.text) == (409, False)


async def test_a_time_searches_what_there_was(bench: Bench, mint: TokenMint) -> None:
    made = await bench.caller.create(content="green tea")
    mint.clock.advance(60)
    await bench.caller.call("PATCH", f"/{made['id']}", json={"content": "coffee"})
    await bench.embed()
    found = await bench.search(query="tea", as_of=made["created_at"])
    assert (ids(found), found["mode_used"], found["degraded"]) == ([made["id"]], "lexical", ["semantic"])
    assert found["results"][0]["memory"] == made
    assert ids(await bench.search(query="tea", mode="lexical")) == []
    answer = await bench.caller.call("POST", "/search", json={"query": "tea", "as_of": "2026-11-24T08:00:00"})
    assert [one["pointer"] for one in answer.json()["errors"]] == ["/as_of"]


class Listening(HashingEmbedder):
    """Remembers what it was asked to embed."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    async def embed(self, texts: Sequence[str]) -> FloatArray:
        self.heard += texts
        return await super().embed(texts)


@pytest.mark.parametrize("setting", ["none", "given"])
async def test_no_text_and_no_question_reaches_the_embedder_where_the_namespace_says_so(
    mint: TokenMint, setting: str
) -> None:
    store, ear = InMemoryStore(), Listening()
    meaning = Meaning(store, [LazyEmbedder("hashing", lambda: ear)], mint.clock)
    await store.use_models(["hashing"])
    application = build_memory_application(store, mint.verifier(), mint.clock, prefix="/memory", meaning=meaning)
    token = mint.token(sub="root", tenant="acme", scope="memory:read memory:write memory:admin")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://memory") as client:
        bench = Bench(client, Caller(client, token), meaning, store)
        headers = {"authorization": f"Bearer {token}"}
        space = "/memory/v1/namespaces/default"
        await client.put(space, json={"embedder": setting}, headers=headers)
        await bench.embed()
        made = await bench.caller.create(content="secret tea")
        await bench.embed()
        plain = await bench.search(query="secret question about tea")
        assert (plain["mode_used"], plain["degraded"], ids(plain)) == ("lexical", [], [made["id"]])
        for mode in ("semantic", "hybrid"):
            asked = await bench.search(query="secret question about tea", mode=mode)
            assert (asked["mode_used"], asked["degraded"], ids(asked)) == ("lexical", ["semantic"], [made["id"]])
        assert [text for text in ear.heard if "secret" in text] == []
        await client.put(space, json={}, headers=headers)
        await bench.embed()
        found = await bench.search(query="secret teas", mode="semantic")
        assert (found["mode_used"], ids(found)) == ("semantic", [made["id"]])
        assert [text for text in ear.heard if "secret" in text] == ["secret tea", "secret teas"]
    await meaning.close()
