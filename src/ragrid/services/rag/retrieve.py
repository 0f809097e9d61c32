"""From a question to passages: by meaning and by words, fused."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ragrid.errors import RagridError, UnreachableError
from ragrid.inference.generator import Passage
from ragrid.services.rag import metrics
from ragrid.services.rag.index import VectorIndex
from ragrid.services.rag.log import Hit, IngestLog
from ragrid.services.rag.threads import LogThreads
from ragrid.services.rag.vectors import Caller
from ragrid.system.clock import Clock

logger = logging.getLogger(__name__)

#: Reciprocal rank fusion: the constant of Cormack, Clarke and Buettcher (SIGIR 2009).
FUSION_K = 60
#: Candidates that each way of searching hands to the fusion, for each passage that is wanted, and at least.
_DEPTH, _LEAST = 4, 20

Mode = Literal["hybrid", "vector", "lexical"]


@dataclass
class Retrieved:
    """Passages, the best first; `degraded` names what had to be done without, `timings_s` what each phase took."""

    passages: tuple[Passage, ...] = ()
    degraded: list[str] = field(default_factory=list)
    timings_s: dict[str, float] = field(default_factory=dict)


def fuse(rankings: Sequence[Sequence[str]]) -> list[tuple[str, float]]:
    """Return all ids with a score of 0 to 1 (1: first in every ranking), the best first; equal ones by id."""
    sums: dict[str, float] = {}
    for ranking in rankings:
        for rank, found in enumerate(ranking, start=1):
            sums[found] = sums.get(found, 0.0) + (FUSION_K + 1) / (FUSION_K + rank) / len(rankings)
    return sorted(sums.items(), key=lambda each: (-each[1], each[0]))


class Retrieval:
    """Searches a tenant's documents."""

    def __init__(self, log: LogThreads, index: VectorIndex, clock: Clock) -> None:
        self._log = log
        self._index = index
        self._clock = clock

    async def search(self, caller: Caller, question: str, limit: int, *, mode: Mode = "hybrid") -> Retrieved:
        """Return up to `limit` passages; without ChromaDB or the embedder those that share words with the question."""
        started_s = self._clock.monotonic_s()
        depth = max(_LEAST, _DEPTH * limit)
        result = Retrieved()
        by_meaning, by_words = await asyncio.gather(
            self._by_meaning(caller, question, 0 if mode == "lexical" else depth, result),
            self._by_words(caller, question, 0 if mode == "vector" else depth, result),
        )
        known = {hit.chunk.id: hit for hit in by_words}
        missing = [found for found in by_meaning if found not in known]
        if missing:
            # ChromaDB may still hold what the log has dropped; only what the log knows is an answer.
            known |= await self._log.read(IngestLog.hits, caller.tenant, missing)
        rankings = [list(filter(known.__contains__, by_meaning)), [hit.chunk.id for hit in by_words]]
        fused = fuse([ranking for ranking in rankings if ranking])
        result.passages = passages_of(fused[:limit], known)
        result.timings_s["retrieval"] = self._clock.monotonic_s() - started_s
        metrics.RETRIEVAL_S.observe(result.timings_s["retrieval"])
        for reason in result.degraded:
            metrics.DEGRADED.labels(reason).inc()
        return result

    async def _by_words(self, caller: Caller, question: str, depth: int, result: Retrieved) -> list[Hit]:
        if not depth:
            return []
        started_s = self._clock.monotonic_s()
        found = await self._log.read(IngestLog.search, caller.tenant, question, depth)
        result.timings_s["lexical"] = self._clock.monotonic_s() - started_s
        return found

    async def _by_meaning(self, caller: Caller, question: str, depth: int, result: Retrieved) -> list[str]:
        if not depth:
            return []
        started_s = self._clock.monotonic_s()
        try:
            rows = await self._index.embed([question], "question")
            collection = await self._index.collection()
        except RagridError as error:
            logger.warning("the embedder failed", extra={"reason": str(error)})
            result.degraded.append("embedder-away")
            return []
        embedded_s = self._clock.monotonic_s()
        result.timings_s["embed"] = embedded_s - started_s
        try:
            found = await self._index.vectors.query(caller, collection, rows[0], depth)
        except UnreachableError as error:
            logger.warning("the vector store failed", extra={"reason": str(error)})
            result.degraded.append("vector-store-away")
            return []
        finally:
            result.timings_s["vector"] = self._clock.monotonic_s() - embedded_s
        if not await self._log.read(IngestLog.is_complete, caller.tenant, collection):
            result.degraded.append("index-incomplete")
        return [found_id for found_id, _similarity in found]


def passages_of(ranked: Sequence[tuple[str, float]], known: Mapping[str, Hit]) -> tuple[Passage, ...]:
    """Return the passages of ranked chunk ids."""
    return tuple(
        Passage(
            document_id=known[found].chunk.document_id,
            document=known[found].document,
            start=known[found].chunk.start,
            end=known[found].chunk.end,
            text=known[found].chunk.text,
            score=round(score, 4),
            context=known[found].chunk.context,
        )
        for found, score in ranked
    )
