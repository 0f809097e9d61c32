"""Search: a question in, the memories that answer it out."""

import time
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType
from starlette.requests import Request

from ragrid.services.memory.api.answers import Answer
from ragrid.services.memory.api.confinement import held_to
from ragrid.services.memory.api.headers import require_media_type
from ragrid.services.memory.api.included import Included, with_status
from ragrid.services.memory.api.operation import (
    BODY_PROBLEMS,
    JSON_TYPE,
    NAMESPACE_PROBLEMS,
    Body,
    Operation,
    Success,
    owner_of,
    scope_of,
)
from ragrid.services.memory.api.parameters import NAMESPACE, SearchFilter, filter_from
from ragrid.services.memory.api.parts import Parts
from ragrid.services.memory.model import BODY_BYTES, Memory, Moment, microseconds
from ragrid.services.memory.protocol.search import QueryVector
from ragrid.services.memory.ranking.fusion import Explanation, Ranking
from ragrid.services.memory.recall import Degraded, Mode, Question
from ragrid.services.memory.vectors import GivenVector
from ragrid.services.memory.words import QUERY_CHARACTERS, words_of
from ragrid.web.body import decode_json, read_body
from ragrid.web.problem import Problem

SEARCH_LIMIT = 100
SEARCH_DEFAULT = 10
#: Longest half-life: ten years.
HALF_LIFE_S = 315_360_000

_encode = msgspec.json.Encoder().encode

Ratio = Annotated[float, Meta(ge=0, le=1)]


class SearchRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a search; `vector` is the question as the caller embedded it."""

    query: Annotated[str, Meta(max_length=QUERY_CHARACTERS)] = ""
    vector: GivenVector | None = None
    mode: Mode | None = None
    filter: SearchFilter = SearchFilter()
    k: Annotated[int, Meta(ge=1, le=SEARCH_LIMIT)] = SEARCH_DEFAULT
    min_score: Ratio = 0.0
    #: Seconds since its last change after which a memory counts half.
    recency_half_life: Annotated[float, Meta(ge=1, le=HALF_LIFE_S)] | None = None
    importance_weight: Ratio = 0.0
    include_superseded: bool = False
    #: Searches, by words, what there was then.
    as_of: Moment | None = None
    explain: bool = False
    include: Annotated[tuple[Included, ...], Meta(max_length=1)] = ()


class Result(msgspec.Struct, frozen=True):
    """One memory that was found; `explain` is there when it was asked for."""

    memory: Memory
    score: Annotated[float, Meta(gt=0, le=1)]
    explain: Explanation | UnsetType = UNSET


class SearchAnswer(msgspec.Struct, frozen=True):
    """What a search found, best first. `degraded` names the part that is missing, or that lags behind the writes."""

    results: tuple[Result, ...]
    mode_used: Mode
    degraded: tuple[Degraded, ...]
    took_ms: float


class SearchApi:
    """The operations of search."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def operations(self) -> tuple[Operation, ...]:
        """Return each operation."""
        return (
            Operation(
                method="POST",
                path="/memories/search",
                id="searchMemories",
                summary="Finds memories by words and by meaning; filters are kept before anything is ranked.",
                permission="memory:read",
                handler=self._search,
                parameters=(NAMESPACE,),
                body=Body(schema=SearchRequest),
                successes=(Success(status=200, summary="What was found, best first.", schema=SearchAnswer),),
                problems=(*NAMESPACE_PROBLEMS, *BODY_PROBLEMS, "invalid-body", "invalid-filter"),
            ),
        )

    async def _search(self, request: Request) -> Answer:
        scope = scope_of(request)
        require_media_type(request, JSON_TYPE)
        wanted = decode_json(await read_body(request, BODY_BYTES), SearchRequest)
        question = _question(wanted, owner_of(request))
        started_s = time.perf_counter()
        found = await self._parts.recall.find(scope, question, now_us=self._parts.now_us())
        took_ms = round((time.perf_counter() - started_s) * 1000, 3)
        docs = [hit.doc for hit in found.hits]
        if wanted.include:
            docs = await with_status(self._parts.store, scope, docs)
        results: list[dict[str, Any]] = [
            {"memory": msgspec.Raw(doc), "score": hit.score} for doc, hit in zip(docs, found.hits, strict=True)
        ]
        if wanted.explain:
            for result, hit in zip(results, found.hits, strict=True):
                result["explain"] = hit.explanation
        body = {"results": results, "mode_used": found.mode_used, "degraded": found.degraded, "took_ms": took_ms}
        return Answer(200, _encode(body))


def _question(wanted: SearchRequest, owner: str | None) -> Question:
    if wanted.vector is None and not words_of(wanted.query):
        errors = [{"pointer": "/query", "detail": "wanted at least one letter or digit"}]
        raise Problem(422, "invalid-body", "/query: holds no word to look for", errors=errors)
    given = wanted.vector
    return Question(
        text=wanted.query,
        mode=wanted.mode,
        vector=None if given is None else QueryVector(given.model, given.direction),
        wanted=held_to(filter_from(wanted.filter, "/filter"), owner),
        limit=wanted.k,
        ranking=Ranking(
            half_life_s=wanted.recency_half_life,
            importance_weight=wanted.importance_weight,
            min_score=wanted.min_score,
            include_superseded=wanted.include_superseded,
            as_of_us=None if wanted.as_of is None else microseconds(wanted.as_of),
        ),
    )
