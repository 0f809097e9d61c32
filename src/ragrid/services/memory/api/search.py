"""Search: a question in, the memories that answer it out."""

import time
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request

from ragrid.services.memory.api.answers import Answer
from ragrid.services.memory.api.headers import require_media_type
from ragrid.services.memory.api.operation import (
    BODY_PROBLEMS,
    JSON_TYPE,
    NAMESPACE_PROBLEMS,
    Body,
    Operation,
    Success,
    scope_of,
)
from ragrid.services.memory.api.parameters import NAMESPACE, SearchFilter, filter_from
from ragrid.services.memory.api.parts import Parts
from ragrid.services.memory.model import BODY_BYTES, Memory
from ragrid.services.memory.words import QUERY_CHARACTERS, words_of
from ragrid.web.body import decode_json, read_body
from ragrid.web.problem import Problem

SEARCH_LIMIT = 100
SEARCH_DEFAULT = 10

_encode = msgspec.json.Encoder().encode


class SearchRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a search."""

    query: Annotated[str, Meta(min_length=1, max_length=QUERY_CHARACTERS)]
    mode: Annotated[str, Meta(pattern="^lexical$")] = "lexical"
    filter: SearchFilter = SearchFilter()
    k: Annotated[int, Meta(ge=1, le=SEARCH_LIMIT)] = SEARCH_DEFAULT


class Result(msgspec.Struct, frozen=True):
    """One memory that was found; the best one has the score 1."""

    memory: Memory
    score: Annotated[float, Meta(gt=0, le=1)]


class SearchAnswer(msgspec.Struct, frozen=True):
    """What a search found, best first."""

    results: tuple[Result, ...]
    mode_used: Literal["lexical"]
    degraded: tuple[str, ...]
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
                summary="Finds memories by what they say; filters are kept before anything is ranked.",
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
        words = words_of(wanted.query)
        if not words:
            errors = [{"pointer": "/query", "detail": "wanted at least one letter or digit"}]
            raise Problem(422, "invalid-body", "/query: holds no word to look for", errors=errors)
        started_s = time.perf_counter()
        now_us = self._parts.now_us()
        hits = await self._parts.store.search(
            scope, words, filter_from(wanted.filter, "/filter"), now_us=now_us, limit=wanted.k
        )
        took_ms = round((time.perf_counter() - started_s) * 1000, 3)
        results = [{"memory": msgspec.Raw(hit.doc), "score": hit.score} for hit in hits]
        body: dict[str, Any] = {"results": results, "mode_used": "lexical", "degraded": [], "took_ms": took_ms}
        return Answer(200, _encode(body))
