"""The routes under `/memory/v1/`: each reads the request, asks the store once, and sends what the store rendered."""

import time
from collections.abc import Awaitable, Callable, Mapping
from hashlib import blake2b

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ragrid.errors import RagridError
from ragrid.identity.claims import Claims
from ragrid.services.memory.answers import Answer, is_refusal, problem_of
from ragrid.services.memory.changes import Create, Delete, Idempotency, Patch, Replace, Scope
from ragrid.services.memory.cursor import encode_cursor
from ragrid.services.memory.errors import InvalidMemoryError, NotFoundError
from ragrid.services.memory.headers import (
    condition_of,
    etag,
    idempotency_key_of,
    is_unmodified,
    namespace_of,
    require_media_type,
)
from ragrid.services.memory.ids import IdSource
from ragrid.services.memory.model import BODY_BYTES, DATA_DEPTH, moment
from ragrid.services.memory.parameters import (
    SearchRequest,
    filter_from,
    filter_of,
    history_paging_of,
    memory_id_of,
    paging_of,
)
from ragrid.services.memory.store import Event, MemoryStore, Written
from ragrid.services.memory.validate import is_deep, parse_input, parse_object, unknown_members
from ragrid.services.memory.words import words_of
from ragrid.system.clock import Clock
from ragrid.web.auth import require
from ragrid.web.body import decode_json, read_body
from ragrid.web.problem import Problem

JSON_TYPE = "application/json"
MERGE_PATCH_TYPE = "application/merge-patch+json"

Handler = Callable[[Request], Awaitable[Answer]]

_encode = msgspec.json.Encoder().encode


class MemoryApi:
    """The memory API over one store; tenant and author come from the token, and from nowhere else."""

    def __init__(self, store: MemoryStore, clock: Clock, *, prefix: str = "/memory") -> None:
        self._store = store
        self._clock = clock
        self._ids = IdSource()
        self._path = f"{prefix}/v1/memories"

    def routes(self) -> list[Route]:
        """Return the routes, one for each path."""
        one = {
            "GET": self._read,
            "HEAD": self._read,
            "PUT": self._replace,
            "PATCH": self._patch,
            "DELETE": self._delete,
        }
        return [
            # The busiest first: routes are tried in order. POST /search fits no method of the first one.
            _route(f"{self._path}/{{id}}", one),
            _route(self._path, {"GET": self._list, "POST": self._create}),
            _route(f"{self._path}/search", {"POST": self._search}),
            _route(f"{self._path}/{{id}}/history", {"GET": self._history}),
        ]

    async def _create(self, request: Request) -> Answer:
        claims, scope = _caller(request, "memory:write")
        require_media_type(request, JSON_TYPE)
        key = idempotency_key_of(request)
        body = await read_body(request, BODY_BYTES)
        now_us = self._now_us()
        given = parse_input(body, now_us=now_us)
        idempotency = None
        if key is not None:
            fingerprint = blake2b(scope.namespace.encode() + b"\0" + body, digest_size=16).digest()
            idempotency = Idempotency(key, fingerprint)
        change = Create(scope, self._ids.new(now_us), claims.subject, now_us, given, idempotency)
        written = await self._store.change(change)
        return self._written(written)

    async def _replace(self, request: Request) -> Answer:
        claims, scope = _caller(request, "memory:write")
        memory_id = memory_id_of(request)
        require_media_type(request, JSON_TYPE)
        condition = condition_of(request)
        body = await read_body(request, BODY_BYTES)
        now_us = self._now_us()
        given = parse_input(body, now_us=now_us)
        written = await self._store.change(Replace(scope, memory_id, claims.subject, now_us, given, condition))
        return self._written(written)

    async def _patch(self, request: Request) -> Answer:
        claims, scope = _caller(request, "memory:write")
        memory_id = memory_id_of(request)
        require_media_type(request, MERGE_PATCH_TYPE)
        condition = condition_of(request)
        patch = parse_object(await read_body(request, BODY_BYTES))
        faults = unknown_members(patch)
        if is_deep(patch, DATA_DEPTH + 1):
            faults.append(("", f"nested more than {DATA_DEPTH + 1} levels deep"))
        if faults:
            raise InvalidMemoryError(faults)
        change = Patch(scope, memory_id, claims.subject, self._now_us(), patch, condition)
        return self._written(await self._store.change(change))

    async def _delete(self, request: Request) -> Answer:
        claims, scope = _caller(request, "memory:write")
        memory_id = memory_id_of(request)
        condition = condition_of(request)
        await self._store.change(Delete(scope, memory_id, claims.subject, self._now_us(), condition))
        return Answer(204)

    async def _read(self, request: Request) -> Answer:
        _, scope = _caller(request, "memory:read")
        memory_id = memory_id_of(request)
        found = await self._store.read(scope, memory_id, now_us=self._now_us())
        if found is None:
            raise _not_found(memory_id, scope)
        headers = {"etag": etag(found.version)}
        if is_unmodified(request, found.version):
            return Answer(304, headers=headers)
        return Answer(200, found.doc, headers=headers)

    async def _list(self, request: Request) -> Answer:
        _, scope = _caller(request, "memory:read")
        wanted = filter_of(request)
        walk = ("list", *msgspec.structs.astuple(scope), *msgspec.structs.astuple(wanted))
        limit, before = paging_of(request, walk)
        page = await self._store.page(scope, wanted, now_us=self._now_us(), limit=limit, before=before)
        after = page.next_position
        cursor = None if after is None else encode_cursor(after, walk)
        return Answer(200, _encode({"memories": [msgspec.Raw(doc) for doc in page.docs], "next_cursor": cursor}))

    async def _search(self, request: Request) -> Answer:
        _, scope = _caller(request, "memory:read")
        require_media_type(request, JSON_TYPE)
        wanted = decode_json(await read_body(request, BODY_BYTES), SearchRequest)
        words = words_of(wanted.query)
        if not words:
            errors = [{"pointer": "/query", "detail": "wanted at least one letter or digit"}]
            raise Problem(422, "invalid-body", "/query: holds no word to look for", errors=errors)
        started_s = time.perf_counter()
        hits = await self._store.search(scope, words, filter_from(wanted.filter), now_us=self._now_us(), limit=wanted.k)
        took_ms = round((time.perf_counter() - started_s) * 1000, 3)
        results = [{"memory": msgspec.Raw(hit.doc), "score": hit.score} for hit in hits]
        body = {"results": results, "mode_used": "lexical", "degraded": [], "took_ms": took_ms}
        return Answer(200, _encode(body))

    async def _history(self, request: Request) -> Answer:
        _, scope = _caller(request, "memory:read")
        memory_id = memory_id_of(request)
        walk = ("history", *msgspec.structs.astuple(scope), memory_id)
        limit, before = history_paging_of(request, walk)
        now_us = self._now_us()
        events = await self._store.history(scope, memory_id, now_us=now_us, limit=limit + 1, before=before)
        if events is None:
            raise _not_found(memory_id, scope)
        cursor = encode_cursor(events[limit - 1].seq, walk) if len(events) > limit else None
        return Answer(200, _encode({"events": [_shown(event) for event in events[:limit]], "next_cursor": cursor}))

    def _written(self, written: Written) -> Answer:
        headers = {"etag": etag(written.version)}
        if written.is_new:
            headers["location"] = f"{self._path}/{written.id}"
        if written.is_replay:
            headers["idempotency-replayed"] = "true"
        return Answer(201 if written.is_new else 200, written.doc, headers=headers)

    def _now_us(self) -> int:
        return int(self._clock.now_s() * 1_000_000)


def _route(path: str, handlers: Mapping[str, Handler]) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            return await handlers[request.method](request)  # type: ignore[return-value]  # an ASGI app of our own
        except RagridError as error:
            if is_refusal(error):
                raise problem_of(error) from error
            raise

    return Route(path, endpoint, methods=list(handlers))


def _caller(request: Request, permission: str) -> tuple[Claims, Scope]:
    claims = require(request, permission)
    return claims, Scope(claims.tenant, namespace_of(request))


def _not_found(memory_id: str, scope: Scope) -> NotFoundError:
    return NotFoundError(f"no memory {memory_id!r} in namespace {scope.namespace!r}")


def _shown(event: Event) -> Mapping[str, object]:
    return {
        "version": event.version,
        "seq": event.seq,
        "op": event.op,
        "at": moment(event.at_us),
        "actor": event.actor,
        "memory": None if event.doc is None else msgspec.Raw(event.doc),
    }
