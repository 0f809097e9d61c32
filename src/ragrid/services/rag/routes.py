"""The public API, `/rag/v1/…`: decode, call, encode. Who calls, and for which tenant, comes from the token alone."""

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from ragrid.errors import RagridError, UnreachableError
from ragrid.inference.generator import Passage, cited
from ragrid.services.rag import metrics, shapes
from ragrid.services.rag.ask import Answer, Asking
from ragrid.services.rag.index import VectorIndex
from ragrid.services.rag.ingest import Ingest
from ragrid.services.rag.log import Document, IngestLog, document_id_of
from ragrid.services.rag.parse import Upload
from ragrid.services.rag.retrieve import Retrieval
from ragrid.services.rag.threads import LogThreads
from ragrid.services.rag.vectors import Caller
from ragrid.web.application import read_body, read_json
from ragrid.web.auth import require
from ragrid.web.problem import Problem

logger = logging.getLogger(__name__)

#: The largest file that is taken, bytes.
FILE_LIMIT_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True)
class Parts:
    """What the routes call."""

    log: LogThreads
    index: VectorIndex
    ingest: Ingest
    retrieval: Retrieval
    asking: Asking


def build_routes(parts: Parts, prefix: str) -> list[BaseRoute]:
    """Return the routes below `prefix`, which is `/rag`."""
    api = _Api(parts)
    documents = f"{prefix}/v1/documents"
    return [
        Route(documents, api.put_document, methods=["POST"]),
        Route(documents, api.list_documents, methods=["GET"]),
        Route(documents, api.delete_by_name, methods=["DELETE"]),
        Route(documents + "/{id}", api.get_document, methods=["GET"]),
        Route(documents + "/{id}", api.delete_document, methods=["DELETE"]),
        Route(documents + "/{id}/text", api.get_text, methods=["GET"]),
        Route(f"{prefix}/v1/search", api.search, methods=["POST"]),
        Route(f"{prefix}/v1/ask", api.ask, methods=["POST"]),
        Route(f"{prefix}/v1/rebuild", api.rebuild, methods=["POST"]),
    ]


class _Api:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def put_document(self, request: Request) -> Response:
        caller = _caller(request, "rag:write")
        name = shapes.check_name(request.query_params.get("name"))
        content = await read_body(request, FILE_LIMIT_BYTES)
        upload = Upload(name, content, request.headers.get("content-type", ""))
        outcome = await self._parts.ingest.put(caller, upload)
        await self.count()
        body = shapes.document_json(outcome.document, None) | {
            "status": outcome.status,
            "state": "pending" if outcome.is_pending else "indexed",
            "degraded": ["index-pending"] if outcome.is_pending else [],
        }
        is_new = outcome.status == "ingested" and outcome.document.version == 1
        return _json(body, 202 if outcome.is_pending else 201 if is_new else 200)

    async def list_documents(self, request: Request) -> Response:
        caller = _caller(request, "rag:read")
        query = request.query_params
        limit = shapes.check_limit(query.get("limit"))
        after, prefix = shapes.decode_cursor(query.get("cursor")), query.get("prefix", "")
        page = await self._parts.log.read(IngestLog.page, caller.tenant, prefix=prefix, after=after, limit=limit + 1)
        shown = page[:limit]
        cursor = shapes.encode_cursor(shown[-1].name) if len(page) > limit else None
        collection = await self._collection()
        return _json({"documents": [shapes.document_json(each, collection) for each in shown], "next": cursor})

    async def get_document(self, request: Request) -> Response:
        document = await self._document(_caller(request, "rag:read"), request.path_params["id"])
        return _json(shapes.document_json(document, await self._collection()))

    async def get_text(self, request: Request) -> Response:
        document = await self._document(_caller(request, "rag:read"), request.path_params["id"])
        text = await self._parts.log.read(IngestLog.text_of, document.tenant, document.id)
        return Response(text or "", media_type="text/plain; charset=utf-8")

    async def delete_document(self, request: Request) -> Response:
        return await self._delete(request, request.path_params["id"])

    async def delete_by_name(self, request: Request) -> Response:
        tenant = require(request, "rag:write").tenant
        return await self._delete(request, document_id_of(tenant, shapes.check_name(request.query_params.get("name"))))

    async def _delete(self, request: Request, document_id: str) -> Response:
        caller = _caller(request, "rag:write")
        document = await self._document(caller, document_id)
        async with self._parts.index.lock(document.id):
            await self._parts.log.write(IngestLog.delete, document.id)
        done = await self._parts.index.try_sweep(caller)
        await self.count()
        degraded = [] if done else ["vectors-left-over"]
        return _json({"document": document.name, "id": document.id, "status": "deleted", "degraded": degraded})

    async def search(self, request: Request) -> Response:
        caller = _caller(request, "rag:read")
        asked = await read_json(request, shapes.SearchRequest)
        question = shapes.check_question(asked.question)
        found = await self._parts.retrieval.search(caller, question, asked.k, mode=asked.mode)
        return _json(
            {
                "citations": _citations(found.passages),
                "embedder": self._parts.index.embedder.name,
                "degraded": found.degraded,
                "timings_ms": shapes.milliseconds(found.timings_s),
            }
        )

    async def ask(self, request: Request) -> Response:
        caller = _caller(request, "rag:read")
        asked = await read_json(request, shapes.AskRequest)
        answer = await self._parts.asking.ask(caller, shapes.check_question(asked.question), asked.k)
        if asked.stream:
            headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
            return StreamingResponse(self._events(answer), media_type="text/event-stream", headers=headers)
        text = "".join([piece async for piece in answer.pieces])
        return _json(
            {"answer": text, "citations": _citations(answer.retrieved.passages), **self._summary(answer, text)}
        )

    async def rebuild(self, request: Request) -> Response:
        documents, chunks = await self._parts.index.rebuild(_caller(request, "rag:admin"))
        await self.count()
        return _json({"documents": documents, "chunks": chunks, "collection": await self._parts.index.collection()})

    async def count(self) -> None:
        """Bring the gauges up to date."""
        documents, chunks, pending = await self._parts.log.read(IngestLog.counts)
        metrics.DOCUMENTS.set(documents)
        metrics.CHUNKS.set(chunks)
        metrics.PENDING.set(pending)

    async def _events(self, answer: Answer) -> AsyncIterator[bytes]:
        """Yield `citations`, each `token`, and `done`; after a failure `error` comes in place of `done`."""
        yield _event("citations", {"citations": _citations(answer.retrieved.passages)})
        words: list[str] = []
        try:
            async for piece in answer.pieces:
                words.append(piece)
                yield _event("token", {"text": piece})
        except RagridError as error:
            logger.warning("an answer broke off", extra={"reason": str(error)})
            status, code = (503, "unavailable") if isinstance(error, UnreachableError) else (500, "failed")
            yield b"event: error\ndata: " + bytes(Problem(status, code, str(error)).response().body) + b"\n\n"
            return
        yield _event("done", self._summary(answer, "".join(words)))

    def _summary(self, answer: Answer, text: str) -> dict[str, Any]:
        return {
            "cited": list(cited(text, len(answer.retrieved.passages))),
            "generator": answer.generator,
            "embedder": self._parts.index.embedder.name,
            "degraded": answer.degraded,
            "timings_ms": shapes.milliseconds(answer.timings_s),
        }

    async def _document(self, caller: Caller, document_id: str) -> Document:
        found = await self._parts.log.read(IngestLog.find, caller.tenant, document_id)
        if found is None:
            raise Problem(404, "no-such-document", f"{document_id[:64]!r}: no document has this id; list them")
        return found

    async def _collection(self) -> str | None:
        """The collection in use; None while the embedder that names it is away."""
        try:
            return await self._parts.index.collection()
        except RagridError:
            return None


def _caller(request: Request, permission: str) -> Caller:
    claims = require(request, permission)
    return Caller(claims.tenant, request.headers["authorization"][len("Bearer ") :])


def _citations(passages: Sequence[Passage]) -> list[dict[str, Any]]:
    return [shapes.passage_json(each, number) for number, each in enumerate(passages, start=1)]


def _json(body: Mapping[str, Any], status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def _event(name: str, body: Mapping[str, Any]) -> bytes:
    return f"event: {name}\ndata: ".encode() + msgspec.json.encode(body) + b"\n\n"
