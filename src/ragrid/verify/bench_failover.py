"""What changes and failures behind the edge cost its callers, counted by a client of the measurement's own.

One load goes on all the time while endpoints change, an instance is killed (`kill -9`) and started again, and one hangs
(SIGSTOP) and goes on. Its requests are idempotent; every one of them must be answered. Beside an instance that hangs
there are writes as well, which nobody may repeat: those on it must wait for it.
"""

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from ragrid.errors import RagridError
from ragrid.gateway.admin import AdminSocket
from ragrid.verify.counting_client import Answer, Tally, load
from ragrid.verify.failover_arena import PATH, FailoverArena, open_failover_arena

CONNECTIONS = 32
WRITERS = 4
#: At least so many requests are answered between two changes, and before and after each failure.
BETWEEN_CHANGES = 10
AROUND_FAILURES = 300
#: Writes before an instance hangs.
WRITES = 40
#: How long an instance hangs at least: longer than a check waits for it.
HANG_S = 2.0
#: Longest wait for something that must happen.
PATIENCE_S = 20.0
VICTIM = "b"


def bench_failover(*, rounds: int = 3, changes: int = 100) -> dict[str, Any]:
    """Return what was lost and how long things took; of several rounds the worst.

    `changes`: `stray` are requests that began after a change was in force and were answered by an instance that it had
    taken out. `kill`: `out_ms` until the edge calls the killed instance down, `slowest_ms` the longest that any request
    took, `back_ms` from its taking connections again to its first answer. `hang`, which lasts until nothing that may be
    repeated waits any more: `slowest_ms` as before; the edge took `released` requests from the hung instance; it
    answered `writes_held` of the `writes` after it went on, the last of them sent `sent_for_ms` after it hung; then it
    took `back_ms` until its first new answer. Raises MissingError without nginx, RagridError when nothing is to be seen
    for too long.
    """
    with open_failover_arena() as arena:
        return asyncio.run(_bench(arena, rounds=rounds, changes=changes))


async def _bench(arena: FailoverArena, *, rounds: int, changes: int) -> dict[str, Any]:
    async with (
        httpx.AsyncClient(trust_env=False) as client,
        load(arena.config.http_port, path=PATH, tokens=arena.tokens, connections=CONNECTIONS) as tally,
    ):
        scene = Scene(arena, tally, client)
        changed = await scene.change(changes)
        killed = [await scene.kill() for _ in range(rounds)]
        hung = [await scene.hang() for _ in range(rounds)]
    return {
        "changes": changed,
        "kill": {"rounds": rounds, **_worst(killed)},
        "hang": {"rounds": rounds, **_worst(hung)},
        "requests": tally.requests,
        "lost": tally.faults.total(),
        "faults": dict(tally.faults),
    }


def _worst(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the sums of what is counted and the largest of what is timed."""
    counted = {"requests", "lost", "released", "writes", "writes_lost"}
    return {
        name: sum(one[name] for one in rounds) if name in counted else max(one[name] for one in rounds)
        for name in (rounds[0] if rounds else {})
    }


@dataclass(frozen=True)
class Scene:
    """The arena under load."""

    arena: FailoverArena
    tally: Tally
    client: httpx.AsyncClient

    async def change(self, number: int) -> dict[str, float]:
        """Change the endpoints that often, by the edge's admin socket, and end with all of them."""
        before, began_s = _Mark(self.tally), time.monotonic()
        admin = AdminSocket(self.arena.config.admin_socket)
        spans: list[Span] = []
        names = tuple(sorted(self.arena.instances))
        pools = list(itertools.islice(_pools(names), number - 1)) + [names] * min(1, number)
        for version, pool in enumerate(pools, start=2):
            asked_s = time.monotonic()
            await admin.put(self.arena.state(pool, version=version))
            spans = [*spans[:-1], *(one.ended(asked_s) for one in spans[-1:]), Span(time.monotonic(), pool)]
            await self.tally.more(BETWEEN_CHANGES)
        await admin.close()
        answers = before.answers()
        took_s = round(time.monotonic() - began_s, 2)
        return {"changes": number, **before.counts(), "stray": strays(answers, spans), "took_s": took_s}

    async def kill(self) -> dict[str, float]:
        """Kill an instance and start it again."""
        before, victim = _Mark(self.tally), self.arena.instances[VICTIM]
        await self.tally.more(AROUND_FAILURES)
        killed_s = time.monotonic()
        victim.kill()
        await self._until(self._is_up, wanted=False)
        out_ms = _ms(time.monotonic() - killed_s)
        await self.tally.more(AROUND_FAILURES)
        await asyncio.to_thread(victim.start)
        started_s = time.monotonic()
        back = await self._first_answer(since_s=started_s)
        await self._settle()
        return {
            **before.counts(),
            "out_ms": out_ms,
            "slowest_ms": before.slowest_ms(),
            "back_ms": _ms(back.ended_s - started_s),
        }

    async def hang(self) -> dict[str, float]:
        """Stop an instance for a while, at any moment between two checks."""
        before, victim = _Mark(self.tally), self.arena.instances[VICTIM]
        released = await self.arena.released(self.client)
        async with self._writes() as writes:
            await self.tally.more(AROUND_FAILURES)
            await writes.more(WRITES)
            await asyncio.sleep(self.arena.config.health.interval_s * random.random())  # noqa: S311 - any moment will do
            hung_s = time.monotonic()
            victim.hang()
            try:
                out_s = await self._out_and_empty()
                await asyncio.sleep(max(0.0, hung_s + HANG_S - time.monotonic()))
                released = await self.arena.released(self.client) - released
            finally:
                went_on_s = time.monotonic()
                victim.go_on()
            back = await self._first_answer(since_s=went_on_s)
        await self._settle()
        held = [one for one in writes.answers if one.instance == VICTIM and one.began_s < went_on_s < one.ended_s]
        return {
            **before.counts(),
            "slowest_ms": before.slowest_ms(),
            "released": released,
            "writes": writes.requests,
            "writes_held": len(held),
            "writes_lost": writes.faults.total(),
            "sent_for_ms": _ms(max((max(0.0, one.began_s - hung_s) for one in held), default=0.0)),
            "out_ms": _ms(out_s - hung_s),
            "back_ms": _ms(back.ended_s - went_on_s),
        }

    def _writes(self) -> contextlib.AbstractAsyncContextManager[Tally]:
        port, tokens = self.arena.config.http_port, self.arena.writers
        return load(port, path=PATH, tokens=tokens, connections=WRITERS, method="POST")

    async def _out_and_empty(self) -> float:
        """Return when the victim was out, once everything that may be repeated and began before has been answered."""
        await self._until(self._is_up, wanted=False)
        out_s = time.monotonic()

        async def is_settled() -> bool:
            return self.tally.is_settled(out_s)

        await self._until(is_settled, wanted=True, what="free of waiting requests")
        return out_s

    async def _is_up(self) -> bool:
        return await self.arena.is_up(self.client, VICTIM)

    async def _settle(self) -> None:
        await self._until(self._is_up, wanted=True)
        await self.tally.more(AROUND_FAILURES)

    async def _first_answer(self, *, since_s: float) -> Answer:
        """Return the victim's first answer to a request that began after `since_s`."""
        end_s, seen = time.monotonic() + PATIENCE_S, len(self.tally.answers)
        while time.monotonic() < end_s:
            for one in self.tally.answers[seen:]:
                seen += 1
                if one.instance == VICTIM and one.began_s > since_s:
                    return one
            await asyncio.sleep(0.002)
        raise RagridError(f"bench: {VICTIM} answered nothing within {PATIENCE_S:.0f} s of its return; not a result")

    async def _until(self, condition: Callable[[], Awaitable[bool]], *, wanted: bool, what: str = "up") -> None:
        end_s = time.monotonic() + PATIENCE_S
        while await condition() is not wanted:
            if time.monotonic() > end_s:
                raise RagridError(f"bench: {VICTIM} was {'not' if wanted else 'still'} {what} after {PATIENCE_S:.0f} s")
            await asyncio.sleep(0.005)


class _Mark:
    """A place in a tally, to count from."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._answers = len(tally.answers)
        self._faults = tally.faults.total()

    def answers(self) -> list[Answer]:
        return self._tally.answers[self._answers :]

    def slowest_ms(self) -> float:
        return _ms(max(one.ended_s - one.began_s for one in self.answers()))

    def counts(self) -> dict[str, float]:
        lost = self._tally.faults.total() - self._faults
        return {"requests": len(self._tally.answers) - self._answers + lost, "lost": lost}


@dataclass(frozen=True, slots=True)
class Span:
    """Between the moments `began_s` and `ended_s` exactly the instances of `pool` were in force."""

    began_s: float
    pool: tuple[str, ...]
    ended_s: float = float("inf")

    def ended(self, at_s: float) -> "Span":
        """Return it with its end: the moment at which the next change was asked for."""
        return Span(self.began_s, self.pool, at_s)


def strays(answers: Iterable[Answer], spans: Sequence[Span]) -> int:
    """Return how many answers came from outside the pool that was in force from their beginning to their end."""
    return sum(
        1
        for one in answers
        for span in spans
        if span.began_s <= one.began_s and one.ended_s <= span.ended_s and one.instance not in span.pool
    )


def _pools(names: tuple[str, ...]) -> Iterable[tuple[str, ...]]:
    """Yield pools of one or two instances, for ever; each is another than the one before."""
    for turn in itertools.count():
        first = names[turn % len(names)]
        yield (first,) if turn % 2 else tuple(sorted({first, names[(turn + 1) % len(names)]}))


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
