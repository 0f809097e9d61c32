"""From a question to a cited answer, piece by piece."""

import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from ragrid.errors import RagridError
from ragrid.inference.extractive import ExtractiveGenerator
from ragrid.inference.generator import NOTHING_FOUND, Generator
from ragrid.inference.hashing import HashingEmbedder
from ragrid.services.rag import metrics
from ragrid.services.rag.retrieve import Retrieval, Retrieved
from ragrid.services.rag.vectors import Caller
from ragrid.system.clock import Clock

logger = logging.getLogger(__name__)


@dataclass
class Answer:
    """An answer under way: the passages are there, the words come from `pieces`, the rest is right at their end."""

    retrieved: Retrieved
    pieces: AsyncIterator[str]
    generator: str = ""
    degraded: list[str] = field(default_factory=list)
    timings_s: dict[str, float] = field(default_factory=dict)


class Asking:
    """Retrieves and generates; a generator that fails before its first word is replaced by quoting."""

    def __init__(self, retrieval: Retrieval, generator: Generator, quoting: Generator, clock: Clock) -> None:
        """`quoting` serves when `generator` fails, and quoting by shared words when that fails as well."""
        last = ExtractiveGenerator(HashingEmbedder())
        self._generators = (generator, quoting, last) if generator is not quoting else (quoting, last)
        self._retrieval = retrieval
        self._clock = clock

    async def ask(self, caller: Caller, question: str, limit: int) -> Answer:
        """Return the answer to `question` from up to `limit` passages, ready to be read once."""
        started_s = self._clock.monotonic_s()
        retrieved = await self._retrieval.search(caller, question, limit)
        answer = Answer(retrieved, _no_pieces(), degraded=list(retrieved.degraded), timings_s=dict(retrieved.timings_s))
        answer.pieces = self._pieces(answer, caller, question, started_s)
        return answer

    async def _pieces(self, answer: Answer, caller: Caller, question: str, started_s: float) -> AsyncIterator[str]:
        generating_s = self._clock.monotonic_s()
        async for piece in self._first_that_works(answer, caller, question):
            answer.timings_s.setdefault("first_token", self._clock.monotonic_s() - started_s)
            yield piece
        ended_s = self._clock.monotonic_s()
        answer.timings_s |= {"generate": ended_s - generating_s, "total": ended_s - started_s}
        metrics.ASK_S.observe(ended_s - started_s)

    async def _first_that_works(self, answer: Answer, caller: Caller, question: str) -> AsyncIterator[str]:
        passages = answer.retrieved.passages
        if not passages:
            # No model is asked to answer from nothing.
            answer.generator = self._generators[0].name
            yield NOTHING_FOUND
            return
        for generator in self._generators:
            stream = generator.stream(question, passages, token=caller.token)
            try:
                first = await anext(stream, "")
            except RagridError as error:
                logger.warning("a generator failed", extra={"generator": generator.name, "reason": str(error)})
                first = ""
            if first:
                answer.generator = generator.name
                yield first
                async for piece in stream:
                    yield piece
                return
            self._note(answer, generator)
        raise RagridError("no generator answered; the log of this part says why")

    def _note(self, answer: Answer, failed: Generator) -> None:
        reason = "embedder-away" if isinstance(failed, ExtractiveGenerator) else "generator-away"
        if reason not in answer.degraded:
            answer.degraded.append(reason)
            metrics.DEGRADED.labels(reason).inc()


async def _no_pieces(pieces: Sequence[str] = ()) -> AsyncIterator[str]:
    for piece in pieces:
        yield piece
