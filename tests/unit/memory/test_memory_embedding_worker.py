"""The embedding worker and the searches beside it, with a clock of their own: nothing here waits."""

from collections.abc import Sequence

import httpx
import numpy as np
import pytest

from ragrid.errors import RagridError, UnreachableError
from ragrid.inference.embedder import FloatArray, normalise
from ragrid.inference.hashing import HashingEmbedder
from ragrid.services.memory.changes import Replace, Scope
from ragrid.services.memory.embedding.lazy import LazyEmbedder
from ragrid.services.memory.embedding.meaning import Meaning
from ragrid.services.memory.embedding.query import PAUSE_S
from ragrid.services.memory.embedding.worker import ATTEMPTS, BEHIND_S, PAUSE_MOST_S, STUCK_S
from ragrid.services.memory.inmemory.store import InMemoryStore
from ragrid.services.memory.model import MemoryInput
from ragrid.services.memory.protocol.embeddings import Embedded
from ragrid.services.memory.recall import Found, Mode, Question, Recall
from ragrid.services.memory.service import build_memory_application
from ragrid.system.clock import ManualClock
from support.token_mint import TokenMint

ACME = Scope("acme", "default")


class Fragile:
    """An embedder of two dimensions that can be away, and that cannot bear the word `poison`."""

    name = "fragile"
    dimension = 2
    is_semantic = True

    def __init__(self) -> None:
        self.is_away = False
        self.asked: list[list[str]] = []

    async def embed(self, texts: Sequence[str]) -> FloatArray:
        self.asked.append(list(texts))
        if self.is_away:
            raise UnreachableError("nobody there")
        if any("poison" in text for text in texts):
            raise ValueError("cannot be embedded")
        return normalise(np.array([[1.0, len(text)] for text in texts], np.float32))

    async def close(self) -> None:
        """Nothing is held."""


class Service:
    """A store, an embedder that can fail, and a clock that moves when told."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.embedder = Fragile()
        self.store = InMemoryStore()
        self.meaning = Meaning(self.store, [LazyEmbedder("fragile", lambda: self.embedder)], clock)
        self.worker = self.meaning.worker
        self.recall = Recall(self.store, self.meaning)

    @property
    def now_us(self) -> int:
        return int(self.clock.now_s() * 1_000_000)

    async def put(self, memory_id: str, content: str) -> None:
        await self.store.change(Replace(ACME, memory_id, "alice", self.now_us, MemoryInput(content=content)))

    async def find(self, text: str, mode: Mode | None = None) -> Found:
        return await self.recall.find(ACME, Question(text=text, mode=mode), now_us=self.now_us)

    async def waiting(self) -> tuple[int, int]:
        outbox = await self.store.outbox("fragile")
        return outbox.waiting, outbox.given_up


@pytest.fixture
async def service() -> Service:
    one = Service(ManualClock())
    await one.store.use_models(["fragile"])
    await one.worker.turn()
    return one


async def test_what_was_written_is_embedded_in_few_calls(service: Service) -> None:
    for number in range(5):
        await service.put(f"k{number}", "tea")
    assert await service.worker.turn() is True
    assert await service.waiting() == (0, 0)
    assert service.embedder.asked == [["dimension"], ["tea"] * 5]  # the first is how the dimension is learnt
    assert await service.worker.turn() is False


async def test_an_embedder_that_is_away_is_waited_for_and_nothing_is_given_up(service: Service) -> None:
    service.embedder.is_away = True
    await service.put("k", "tea")
    asked = []
    for _ in range(300):
        await service.worker.turn()
        asked.append(len(service.embedder.asked))
        service.clock.advance(1)
    assert await service.waiting() == (1, 0)
    assert 10 < asked[-1] < 20  # after 1, 2, 4, 8, 16, then every 30 s
    service.worker.check()
    assert service.worker.lag_s == pytest.approx(300)
    service.embedder.is_away = False
    service.clock.advance(PAUSE_MOST_S)
    await service.worker.turn()
    assert await service.waiting() == (0, 0)
    await service.worker.turn()
    assert service.worker.lag_s == 0


async def test_a_poisonous_text_is_given_up_visibly_and_holds_nobody_up(service: Service) -> None:
    for number in range(6):
        await service.put(f"k{number}", "poison" if number == 3 else "tea")
    await service.worker.turn()
    assert await service.waiting() == (1, 0)
    for _ in range(ATTEMPTS):
        service.clock.advance(100)
        await service.worker.turn()
    assert await service.waiting() == (0, 1)


async def test_searches_say_what_they_did_without(service: Service) -> None:
    await service.put("k", "tea")
    await service.worker.turn()
    found = await service.find("tea")
    assert (found.mode_used, found.degraded, len(found.hits)) == ("hybrid", (), 1)
    service.embedder.is_away = True
    for mode in (None, "hybrid", "semantic"):
        found = await service.find("tea please", mode)
        assert (found.mode_used, found.degraded, len(found.hits)) == ("lexical", ("semantic",), 1)
    assert (await service.find("tea please", "lexical")).degraded == ()
    # The embedder was asked once, and is left in peace for a while; a question of before is still known.
    assert [texts for texts in service.embedder.asked if texts == ["tea please"]] == [["tea please"]]
    assert (await service.find("tea")).mode_used == "hybrid"
    service.embedder.is_away = False
    service.clock.advance(PAUSE_S)
    assert (await service.find("tea please")).degraded == ()


async def test_searches_say_when_vectors_lag_behind(service: Service) -> None:
    await service.put("a", "tea")
    await service.worker.turn()
    await service.find("tea")
    service.embedder.is_away = True
    await service.put("b", "tea")
    await service.worker.turn()
    assert (await service.find("tea")).degraded == ()
    service.clock.advance(BEHIND_S + 1)
    found = await service.find("tea")
    assert (found.mode_used, found.degraded, len(found.hits)) == ("hybrid", ("semantic",), 2)


async def test_without_an_embedder_words_are_enough_unless_meaning_is_asked_for() -> None:
    store = InMemoryStore()
    recall = Recall(store)
    await store.change(Replace(ACME, "k", "alice", 1, MemoryInput(content="tea")))
    assert (await recall.find(ACME, Question(text="tea"), now_us=1)).degraded == ()
    found = await recall.find(ACME, Question(text="tea", mode="hybrid"), now_us=1)
    assert (found.mode_used, found.degraded, len(found.hits)) == ("lexical", ("semantic",), 1)


async def test_without_an_embedder_nothing_is_stuck_however_long_it_runs() -> None:
    clock = ManualClock()
    worker = Meaning(InMemoryStore(), [], clock).worker
    await worker.run()
    clock.advance(10 * STUCK_S)
    worker.check()


async def test_a_worker_that_gets_nothing_done_is_stuck(service: Service) -> None:
    async def refuse(model: str, embedded: Sequence[Embedded]) -> None:
        raise RagridError("the store takes nothing")

    await service.put("k", "tea")
    service.store.store_vectors = refuse  # type: ignore[method-assign]  # a store that fails in just this
    for _ in range(3):
        service.clock.advance(STUCK_S / 2)
        with pytest.raises(RagridError, match="takes nothing"):
            await service.worker.turn()
    with pytest.raises(RagridError, match="the outbox is stuck"):
        service.worker.check()
    application = build_memory_application(
        service.store, TokenMint().verifier(), service.clock, prefix="/memory", meaning=service.meaning
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://memory") as client:
        answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "not-ready", "1")
    assert "the outbox is stuck" in answer.json()["detail"]


async def test_a_store_from_before_embeddings_is_caught_up_with() -> None:
    service = Service(ManualClock())
    for number in range(3):
        await service.put(f"k{number}", "tea")
    await service.store.use_models(["fragile"])
    await service.worker.turn()
    assert await service.waiting() == (0, 0)
    assert len((await service.find("tea", "semantic")).hits) == 3


async def test_an_embedder_that_cannot_be_opened_is_away_until_it_can() -> None:
    attempts: list[int] = []

    def open_it() -> HashingEmbedder:
        attempts.append(1)
        if len(attempts) < 3:
            raise RagridError("no model there")
        return HashingEmbedder()

    embedder = LazyEmbedder("hashing", open_it)
    for _ in range(2):
        with pytest.raises(UnreachableError, match="no model there"):
            await embedder.embed(["x"])
    assert (await embedder.embed(["x"])).shape == (1, 1024)
    await embedder.close()


async def test_the_next_model_takes_over_when_it_is_complete(service: Service) -> None:
    await service.put("a", "tea")
    await service.worker.turn()
    both = Meaning(
        service.store,
        [LazyEmbedder("fragile", lambda: service.embedder), LazyEmbedder("hashing", HashingEmbedder)],
        service.clock,
    )
    await service.store.use_models(["fragile", "hashing"])
    names = []
    for _ in range(4):
        await both.worker.turn()
        names.append(both.worker.active)
    assert names[0] == "fragile"
    assert names[-1] == "hashing"
    found = await Recall(service.store, both).find(ACME, Question(text="tea", mode="semantic"), now_us=service.now_us)
    assert (len(found.hits), found.degraded) == (1, ())


async def test_before_the_worker_has_begun_searches_say_that_meaning_is_missing() -> None:
    service = Service(ManualClock())
    await service.put("k", "tea")
    found = await service.find("tea")
    assert (found.mode_used, found.degraded, len(found.hits)) == ("lexical", ("semantic",), 1)
