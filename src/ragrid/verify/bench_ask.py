"""How long retrieval takes: distinct questions over many chunks, through the gateway, embedding included."""

import asyncio
import random
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec

from ragrid.errors import RagridError, UnreachableError
from ragrid.inference.http import trust
from ragrid.system.clock import Clock, SystemClock

#: Documents of the benchmark carry this prefix and are removed at its end, also after a failure.
PREFIX = "bench/"
_SECTIONS = 100
_SECTION_SENTENCES = 7
_AT_ONCE = 2
_INGEST_TIMEOUT_S = 600.0


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_SUBJECTS = _words("""
    engineer gardener pilot baker sailor teacher painter farmer doctor lawyer carpenter librarian astronomer geologist
    musician cook tailor watchmaker miner shepherd""")
_VERBS = _words("""
    repaired moved measured sold painted found counted opened cleaned hid carried copied weighed burned""")
_OBJECTS = _words("""
    lantern engine ledger bridge window barrel compass ladder curtain statue kettle anchor saddle violin mirror carpet
    hammer telescope bell bottle basket candle drawer fountain gate helmet kite loom map needle""")
_PLACES = _words("""
    harbour station orchard cellar market library tower valley workshop garden mill chapel school castle island quarry
    meadow theatre bakery stable""")


@dataclass(frozen=True)
class RagTarget:
    """A running grid. `token` returns a writer's token that is valid now: the ingest may outlive one."""

    gateway_url: str
    ca_file: Path | None
    token: Callable[[], str]


def bench_ask(
    target: RagTarget,
    *,
    chunks: int = 10_000,
    questions: int = 200,
    say: Callable[[str], None] = lambda _line: None,
    clock: Clock | None = None,
) -> dict[str, Any]:
    """Return the documented object: `retrieval_mean_ms`, `retrieval_p50_ms`, `retrieval_p99_ms`, `chunks`, and more.

    Generated text is ingested until the tenant holds `chunks`, then each of `questions` is searched once; times are
    what the caller sees, network and gateway included. Raises RagridError when any answer was degraded or refused.
    """
    return asyncio.run(_Bench(target, say, clock or SystemClock()).run(chunks, questions))


class _Bench:
    def __init__(self, target: RagTarget, say: Callable[[str], None], clock: Clock) -> None:
        self._target = target
        self._say = say
        self._clock = clock
        self._client = httpx.AsyncClient(
            base_url=target.gateway_url, verify=trust(target.ca_file), timeout=_INGEST_TIMEOUT_S, trust_env=False
        )

    async def run(self, chunks: int, questions: int) -> dict[str, Any]:
        async with self._client:
            try:
                ingested = await self._fill(chunks)
                total = await self._count()
                return {"chunks": total, **await self._measure(questions), "ingest": ingested}
            finally:
                self._say("removing the benchmark's documents")
                await self._clear()

    async def _fill(self, wanted: int) -> dict[str, Any]:
        """Ingest generated documents until the tenant holds at least `wanted` chunks."""
        held = before = await self._count()
        started_s = self._clock.monotonic_s()
        numbers = iter(range(10 * wanted))

        async def worker() -> None:
            nonlocal held
            while held < wanted:
                number = next(numbers)
                name = f"{PREFIX}{number:05}.md"
                content = document_text(number).encode()
                answer = await self._send("POST", "/rag/v1/documents", content=content, parameters={"name": name})
                held += answer["chunks"]
                self._say(f"ingested {held} of {wanted} chunks")

        await asyncio.gather(*(worker() for _ in range(_AT_ONCE)))
        took_s = self._clock.monotonic_s() - started_s
        added = held - before
        return {"chunks": added, "seconds": round(took_s, 1), "chunks_per_s": round(added / took_s, 1) if added else 0}

    async def _measure(self, questions: int) -> dict[str, Any]:
        walls_ms: list[float] = []
        phases: list[Mapping[str, float]] = []
        answer: dict[str, Any] = {}
        for question in bench_questions(questions + 1):
            started_s = self._clock.monotonic_s()
            body = msgspec.json.encode({"question": question, "k": 6})
            answer = await self._send("POST", "/rag/v1/search", content=body)
            walls_ms.append((self._clock.monotonic_s() - started_s) * 1000)
            phases.append(answer["timings_ms"])
            if answer["degraded"] or not answer["citations"]:
                message = (
                    f"search: degraded {answer['degraded']}, {len(answer['citations'])} passages; see `ragrid status`"
                )
                raise RagridError(message)
        # The first question opens the connections and is not counted.
        return {**summarize(walls_ms[1:], phases[1:]), "embedder": answer["embedder"]}

    async def _count(self) -> int:
        return sum([document["chunks"] async for document in self._documents("")])

    async def _clear(self) -> None:
        for name in [document["document"] async for document in self._documents(PREFIX)]:
            await self._send("DELETE", "/rag/v1/documents", parameters={"name": name})

    async def _documents(self, prefix: str) -> Any:
        cursor: str | None = ""
        while cursor is not None:
            parameters = {"prefix": prefix, "limit": "1000", "cursor": cursor}
            page = await self._send("GET", "/rag/v1/documents", parameters=parameters)
            for document in page["documents"]:
                yield document
            cursor = page["next"]

    async def _send(
        self, method: str, path: str, *, content: bytes | None = None, parameters: Mapping[str, str] | None = None
    ) -> Any:
        kind = "text/markdown" if path.endswith("/documents") else "application/json"
        headers = {"Authorization": f"Bearer {self._target.token()}", "Content-Type": kind}
        try:
            response = await self._client.request(method, path, content=content, params=parameters, headers=headers)
        except httpx.HTTPError as error:
            message = f"{self._target.gateway_url}{path}: {type(error).__name__}: {error}; see `ragrid status`"
            raise UnreachableError(message) from error
        if response.status_code not in {200, 201}:
            raise RagridError(f"{method} {path}: got {response.status_code}: {response.text[:300]}")
        return msgspec.json.decode(response.content)


def summarize(walls_ms: Sequence[float], phases: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Return mean, median and 99th percentile (nearest rank) of the whole, and the mean of each phase."""
    ordered = sorted(walls_ms)
    rank = max(0, -(-99 * len(ordered) // 100) - 1)
    names = sorted({name for phase in phases for name in phase})
    return {
        "questions": len(ordered),
        "retrieval_mean_ms": round(statistics.fmean(ordered), 2),
        "retrieval_p50_ms": round(statistics.median(ordered), 2),
        "retrieval_p99_ms": round(ordered[rank], 2),
        "phases_mean_ms": {
            name: round(statistics.fmean([phase.get(name, 0.0) for phase in phases]), 2) for name in names
        },
    }


def document_text(number: int) -> str:
    """Return benchmark document `number`, the same each time: 100 sections of about 65 words, a chunk each."""
    chance = random.Random(f"document {number}")  # noqa: S311 - repeatable text, no secret
    sections = (
        f"## Section {section}\n\n{' '.join(_sentence(chance) for _ in range(_SECTION_SENTENCES))}"
        for section in range(_SECTIONS)
    )
    return f"# Record {number}\n\n" + "\n\n".join(sections) + "\n"


def bench_questions(count: int) -> Iterator[str]:
    """Yield distinct questions about the generated text; the same each time."""
    chance = random.Random("questions")  # noqa: S311 - repeatable text, no secret
    for number in range(count):
        who, what, place = chance.choice(_SUBJECTS), chance.choice(_OBJECTS), chance.choice(_PLACES)
        yield f"What did the {who} do with the {what} number {number} in the {place}?"


def _sentence(chance: random.Random) -> str:
    return (
        f"The {chance.choice(_SUBJECTS)} {chance.choice(_VERBS)} {chance.choice(_OBJECTS)} "
        f"number {chance.randrange(1000)} in the {chance.choice(_PLACES)}."
    )
