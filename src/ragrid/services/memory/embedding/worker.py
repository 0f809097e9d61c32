"""Works through the outbox, beside everything else: short batches, pauses between them, and patience when the embedder
is away.
"""

import asyncio
import logging
from collections.abc import Sequence

from ragrid.errors import RagridError, UnreachableError
from ragrid.inference.embedder import FloatArray
from ragrid.services.memory.embedding.lazy import LazyEmbedder
from ragrid.services.memory.metrics import EMBEDDED, EMBEDDING_FAILURES, EMBEDDINGS_GIVEN_UP, EMBEDDINGS_WAITING
from ragrid.services.memory.protocol.embeddings import Due, Embedded, Embeddings, Refused
from ragrid.system.clock import Clock

logger = logging.getLogger(__name__)

#: One batch: about one run of the local model, 0.05 s on one processor. A question waits for at most one.
BATCH_TEXTS = 32
BATCH_CHARACTERS = 2000
#: After a batch, the worker rests for this part of the time that the batch took: reads have the processors then.
REST_RATIO = 0.3
#: How often an empty outbox is looked at, seconds: as long as that, a new memory is found by its words alone.
IDLE_S = 0.25
#: Longest wait for one batch, seconds; an embedder that takes longer is away.
EMBED_TIMEOUT_S = 60.0
#: While the embedder is away: the first pause and the longest one, seconds.
PAUSE_FIRST_S, PAUSE_MOST_S = 1.0, 30.0
#: A text that the embedder refuses is tried again after 2, 4, 8, … seconds, and given up after so many times.
ATTEMPTS = 5
#: How long one process may work on what it has claimed before another takes it, microseconds.
LEASE_US = 120_000_000
#: Memories that are looked at in one turn when a model is filled in.
FILL_ROWS = 2000
#: Vectors of a dropped model that are deleted in one turn.
DROP_ROWS = 500
#: A worker that got nothing done for this long, though texts waited and the embedder was not away, is stuck, seconds.
STUCK_S = 150.0
#: A memory that has waited so long for its vector makes searches say that they miss something, seconds.
BEHIND_S = 30.0
_COUNT_EVERY_S = 5.0


class EmbeddingWorker:
    """Makes vectors of what waits in the outbox, for the active model and the one that is filled in beside it.

    An embedder that is away is waited for; nothing is given up on its account. A text that it refuses is given up after
    some attempts, and counted.
    """

    def __init__(self, store: Embeddings, embedders: Sequence[LazyEmbedder], clock: Clock) -> None:
        self._store = store
        self._embedders = {one.name: one for one in embedders}
        self._clock = clock
        #: Where the filling of each model stands; None: all memories were seen.
        self._filled: dict[str, int | None] = dict.fromkeys(self._embedders, 0)
        self._oldest_us: dict[str, int | None] = {}
        self._pauses_s: dict[str, float] = {}
        self._paused_until_s: dict[str, float] = {}
        self._well_at_s = clock.monotonic_s()
        self._counted_at_s = -_COUNT_EVERY_S
        self.active: str | None = None

    @property
    def has_embedder(self) -> bool:
        """Searches by meaning are wanted, be they possible now or not."""
        return bool(self._embedders)

    @property
    def lag_s(self) -> float:
        """How long the oldest text has waited for its vector, seconds."""
        oldest_us = None if self.active is None else self._oldest_us.get(self.active)
        return 0.0 if oldest_us is None else max(0.0, self._clock.now_s() - oldest_us / 1_000_000)

    @property
    def is_behind(self) -> bool:
        """Searches by meaning miss memories that were written a while ago."""
        return self.active is not None and (self._filled.get(self.active) is not None or self.lag_s > BEHIND_S)

    def check(self) -> None:
        """Raise RagridError when the worker is stuck; an embedder that is away is no reason, searches say that."""
        idle_s = self._clock.monotonic_s() - self._well_at_s
        if self.has_embedder and idle_s > STUCK_S:  # without one there is no outbox, and nobody who works through it
            raise RagridError(
                f"the outbox is stuck: no text was embedded for {idle_s:.0f} s though some wait; restart memory"
            )

    async def run(self) -> None:
        """Work for ever; without an embedder, there is nothing to do."""
        while True:
            try:
                await self._store.use_models(list(self._embedders))
                break
            except RagridError as error:
                logger.warning("the outbox could not be opened", extra={"reason": str(error)})
                await asyncio.sleep(PAUSE_FIRST_S)
        while self._embedders:
            started_s = self._clock.monotonic_s()
            try:
                has_worked = await self.turn()
            except Exception as error:  # the worker must live on, whatever one turn ran into
                logger.warning("a turn of the outbox failed", exc_info=error)
                await asyncio.sleep(PAUSE_FIRST_S)
                continue
            rest_s = (self._clock.monotonic_s() - started_s) * REST_RATIO
            await asyncio.sleep(rest_s if has_worked else IDLE_S)

    async def turn(self) -> bool:
        """Do a little of everything that is to be done; tell whether anything was."""
        models = await self._store.models()
        active = None if models.active is None else models.active.name
        self.active = active if active in self._embedders else None
        await self._probe([one.name for one in (models.active, models.filling) if one and one.dimension is None])
        names = [one.name for one in (models.active, models.filling) if one is not None and one.name in self._embedders]
        if not names:
            self._well_at_s = self._clock.monotonic_s()
        worked = [await self._serve(name) for name in names]
        if models.filling is not None:
            await self._switch(models.filling.name)
        if not any(worked):
            worked.append(await self._store.drop_vectors(limit=DROP_ROWS))
        await self._count(names)
        return any(worked)

    async def close(self) -> None:
        """Release the embedders."""
        for embedder in self._embedders.values():
            await embedder.close()

    async def _probe(self, names: Sequence[str]) -> None:
        """Let the store learn the dimension of a model, and load the model before the first question comes."""
        for name in names:
            if name in self._embedders and not self._is_paused(name):
                await self._embed(name, [Due(0, b"", self._now_us(), 0, "dimension")])

    async def _serve(self, name: str) -> bool:
        """Fill in what `name` lacks, then embed one batch."""
        filled = self._filled[name]
        if filled is not None:
            now_us = self._now_us()
            self._filled[name] = await self._store.fill_outbox(name, now_us=now_us, limit=FILL_ROWS, after=filled)
        if self._is_paused(name):
            return False
        due = await self._store.claim_texts(
            name, now_us=self._now_us(), limit=BATCH_TEXTS, characters=BATCH_CHARACTERS, lease_us=LEASE_US
        )
        self._oldest_us[name] = due[0].since_us if due else None
        if not due:
            self._well_at_s = self._clock.monotonic_s()
            return filled is not None
        await self._embed(name, due)
        return True

    async def _embed(self, name: str, due: Sequence[Due]) -> None:
        with_text = [one for one in due if one.text]
        rows: FloatArray | None = None
        try:
            if with_text:
                async with asyncio.timeout(EMBED_TIMEOUT_S):
                    rows = await self._embedders[name].embed([one.text for one in with_text])
        except (UnreachableError, TimeoutError) as error:
            self._pause(name, error)
            return
        except Exception as error:  # noqa: BLE001 - one text that an embedder cannot bear must not hold up the others
            if len(due) > 1:
                await self._embed(name, due[: len(due) // 2])
                await self._embed(name, due[len(due) // 2 :])
            else:
                await self._refuse(name, due[0], error)
            return
        vectors = {} if rows is None else {one.position: row for one, row in zip(with_text, rows, strict=True)}
        embedded = [Embedded(one.position, one.digest, vectors.get(one.position)) for one in due]
        await self._store.store_vectors(name, embedded)
        EMBEDDED.inc(len(vectors))
        self._pauses_s.pop(name, None)
        self._well_at_s = self._clock.monotonic_s()

    async def _refuse(self, name: str, one: Due, error: Exception) -> None:
        EMBEDDING_FAILURES.labels("refused").inc()
        attempts = one.attempts + 1
        retry_us = None if attempts >= ATTEMPTS else self._now_us() + 2**attempts * 1_000_000
        reason = str(error) or type(error).__name__
        logger.warning(
            "a text could not be embedded", extra={"model": name, "attempts": attempts, "reason": reason[:500]}
        )
        await self._store.note_refusals(name, [Refused(one.position, one.digest, reason, retry_us)])
        self._well_at_s = self._clock.monotonic_s()

    def _pause(self, name: str, error: Exception) -> None:
        pause_s = min(self._pauses_s.get(name, PAUSE_FIRST_S / 2) * 2, PAUSE_MOST_S)
        self._pauses_s[name] = pause_s
        self._paused_until_s[name] = self._clock.monotonic_s() + pause_s
        self._well_at_s = self._clock.monotonic_s()
        EMBEDDING_FAILURES.labels("away").inc()
        reason = str(error) or "no answer in time"
        logger.warning("the embedder is away", extra={"model": name, "pause_s": pause_s, "reason": reason[:500]})

    def _is_paused(self, name: str) -> bool:
        is_paused = self._clock.monotonic_s() < self._paused_until_s.get(name, 0.0)
        if is_paused:
            self._well_at_s = self._clock.monotonic_s()
        return is_paused

    async def _switch(self, name: str) -> None:
        """Let searches use the model that was filled in, once it has a vector of everything."""
        is_complete = name in self._filled and self._filled[name] is None and self._oldest_us.get(name) is None
        if is_complete and await self._store.switch_model(name):
            logger.info("searches use another model", extra={"model": name})

    async def _count(self, names: Sequence[str]) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._counted_at_s < _COUNT_EVERY_S:
            return
        self._counted_at_s = now_s
        boxes = [await self._store.outbox(name) for name in names]
        EMBEDDINGS_WAITING.set(sum(box.waiting for box in boxes))
        EMBEDDINGS_GIVEN_UP.set(sum(box.given_up for box in boxes))

    def _now_us(self) -> int:
        return int(self._clock.now_s() * 1_000_000)
