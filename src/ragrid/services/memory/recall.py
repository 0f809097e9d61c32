"""Finding memories for a question: by its words, its meaning, or both; and saying so when one of them is missing."""

import asyncio
from functools import partial
from typing import Literal

import msgspec

from ragrid.services.memory.changes import Scope
from ragrid.services.memory.embedding.meaning import Meaning
from ragrid.services.memory.errors import InvalidBodyError
from ragrid.services.memory.namespaces import Embedder
from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.protocol.search import Hit, QueryVector, Search
from ragrid.services.memory.ranking.documents import rank_documents
from ragrid.services.memory.ranking.fusion import PLAIN, Ranking
from ragrid.services.memory.words import words_of

Mode = Literal["lexical", "semantic", "hybrid"]
#: Memories of one namespace among which a search of the past looks.
PAST_LIMIT = 20_000
#: What `degraded` may name.
Degraded = Literal["semantic"]


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for. Without a mode: hybrid where there are vectors, lexical where there are none.

    `vector` is the question as the caller embedded it; without one, the service does.
    """

    text: str
    mode: Mode | None = None
    vector: QueryVector | None = None
    wanted: Filter = Filter()
    limit: int = 10
    ranking: Ranking = PLAIN


class Found(msgspec.Struct, frozen=True):
    """What was found, how, and which part of that is missing or behind."""

    hits: tuple[Hit, ...]
    mode_used: Mode
    degraded: tuple[Degraded, ...] = ()


class Recall:
    """Searches of one store; without `meaning` there are no vectors but those that callers bring."""

    def __init__(self, store: Search, meaning: Meaning | None = None) -> None:
        self._store = store
        self._meaning = meaning

    @property
    def has_embedder(self) -> bool:
        """The service makes vectors by itself."""
        return self._meaning is not None and self._meaning.worker.has_embedder

    async def find(self, scope: Scope, question: Question, *, now_us: int) -> Found:
        """Return what is found; `degraded` names the part that had to be done without, or that is behind.

        Raises InvalidBodyError for a time when there was too much to search.
        """
        words = words_of(question.text)
        embedder: Embedder = "none" if question.mode == "lexical" else await self._store.embedder_of(scope)
        if question.ranking.as_of_us is not None:
            found = await self._past(scope, question, words, question.ranking.as_of_us, now_us)
            return Found(found, "lexical", ("semantic",) if self._is_wanted(question, embedder) else ())
        vector = None if embedder == "none" else question.vector
        if vector is None and embedder == "grid":
            vector = await self._embed(question.text)
        mode: Mode = "lexical" if vector is None else "hybrid" if words and question.mode != "semantic" else "semantic"
        worker = None if self._meaning is None else self._meaning.worker
        is_missing = vector is None and self._is_wanted(question, embedder)
        is_behind = vector is not None and embedder == "grid" and worker is not None and worker.is_behind
        hits = await self._store.search(
            scope,
            () if mode == "semantic" else words,
            question.wanted,
            now_us=now_us,
            limit=question.limit,
            vector=vector,
            ranking=question.ranking,
        )
        return Found(hits, mode, ("semantic",) if is_missing or is_behind else ())

    def _is_wanted(self, question: Question, embedder: Embedder) -> bool:
        """Tell whether a search without vectors does less than what was asked for, or than what is usual there."""
        if question.mode is None and question.vector is None:
            return embedder == "grid" and self.has_embedder
        return question.mode != "lexical"

    async def _past(
        self, scope: Scope, question: Question, words: tuple[str, ...], as_of_us: int, now_us: int
    ) -> tuple[Hit, ...]:
        """Search what there was, by words: vectors are kept of what there is."""
        docs = await self._store.past_documents(scope, as_of_us=as_of_us, now_us=now_us, limit=PAST_LIMIT + 1)
        if len(docs) > PAST_LIMIT:
            fault = f"the namespace held more memories then than the {PAST_LIMIT} that a search of the past looks at"
            raise InvalidBodyError([("/as_of", fault)])
        rank = partial(rank_documents, docs, question.wanted, words, question.ranking, limit=question.limit)
        return await asyncio.to_thread(rank)

    async def _embed(self, text: str) -> QueryVector | None:
        if self._meaning is None or self._meaning.worker.active is None or not text.strip():
            return None
        return await self._meaning.queries.embed(self._meaning.worker.active, text)
