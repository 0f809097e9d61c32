"""From an uploaded file to the log and the index."""

import asyncio
import hashlib
import json
import logging
from dataclasses import dataclass, replace
from typing import Literal

from ragrid.errors import UnreachableError
from ragrid.services.rag import metrics
from ragrid.services.rag.chunk import ChunkSize, split
from ragrid.services.rag.index import VectorIndex
from ragrid.services.rag.log import Chunk, Document, IngestLog, chunk_id_of, document_id_of
from ragrid.services.rag.parse import PARSER_VERSION, ParsedFile, Upload, parse
from ragrid.services.rag.threads import LogThreads
from ragrid.services.rag.vectors import Caller
from ragrid.system.clock import Clock

logger = logging.getLogger(__name__)

#: Files that are parsed and embedded at the same time; more of them would only share the same processors.
_AT_ONCE = 4

Status = Literal["ingested", "unchanged", "replaced"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file. `is_pending`: it is durable and found by words, but not yet by meaning."""

    document: Document
    status: Status
    is_pending: bool = False


class Ingest:
    """Takes files in, one writer for each document at a time."""

    def __init__(self, log: LogThreads, index: VectorIndex, *, size: ChunkSize, clock: Clock) -> None:
        self._log = log
        self._index = index
        self._size = size
        self._clock = clock
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def put(self, caller: Caller, upload: Upload) -> Outcome:
        """Parse, log and index a file; a file that is in the index unchanged is left alone.

        It is durable before ChromaDB hears of it. Raises a Problem for what is no readable document.
        """
        document_id = document_id_of(caller.tenant, upload.name)
        revision = await asyncio.to_thread(revision_of, upload, self._size)
        await self._index.try_sweep(caller)
        async with self._turns, self._index.lock(document_id):
            known = await self._log.read(IngestLog.find, caller.tenant, document_id)
            if known is None or known.revision != revision:
                document = await self._write(caller, upload)
                outcome = Outcome(document, "replaced" if known else "ingested")
            else:
                outcome = Outcome(known, "unchanged")
            outcome = await self._complete(caller, outcome)
        metrics.INGESTED.labels("pending" if outcome.is_pending else outcome.status).inc()
        return outcome

    async def _write(self, caller: Caller, upload: Upload) -> Document:
        file = await asyncio.to_thread(parse, upload)
        document = _document(caller, upload, file, size=self._size, clock=self._clock)
        document = replace(document, version=1 + await self._log.read(IngestLog.last_version, document.id))
        chunks = await asyncio.to_thread(cut, file, document, self._size)
        document = replace(document, chunk_count=len(chunks))
        await self._log.write(IngestLog.put, document, file.parsed.text, chunks)
        return document

    async def _complete(self, caller: Caller, outcome: Outcome) -> Outcome:
        """Index what is missing. A known file that was only pending counts as ingested now."""
        document = outcome.document
        try:
            collection = await self._index.collection()
            if document.collection == collection:
                return outcome
            await self._index.complete(caller, document)
        except UnreachableError as error:
            logger.warning("document stays pending", extra={"document": document.id, "reason": str(error)})
            return replace(outcome, is_pending=True)
        status: Status = "ingested" if outcome.status == "unchanged" else outcome.status
        return Outcome(replace(document, collection=collection), status)


def revision_of(upload: Upload, size: ChunkSize) -> str:
    """Return what all chunks of a file depend on, so that the same file cut in the same way is known again."""
    parts = (
        hashlib.sha256(upload.content).hexdigest(),
        upload.content_type,
        str(PARSER_VERSION),
        str(size.words),
        str(size.overlap_words),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def cut(file: ParsedFile, document: Document, size: ChunkSize) -> list[Chunk]:
    """Return the chunks of a parsed file."""
    parsed = file.parsed
    return [
        Chunk(
            id=chunk_id_of(document.id, document.revision, ordinal),
            document_id=document.id,
            ordinal=ordinal,
            start=span.start,
            end=span.end,
            context=parsed.context_at(span.start),
            text=parsed.text[span.start : span.end],
        )
        for ordinal, span in enumerate(split(parsed.text, size, breaks=[heading.start for heading in parsed.headings]))
    ]


def _document(caller: Caller, upload: Upload, file: ParsedFile, *, size: ChunkSize, clock: Clock) -> Document:
    return Document(
        id=document_id_of(caller.tenant, upload.name),
        tenant=caller.tenant,
        name=upload.name,
        title=file.parsed.title,
        media_type=file.media_type,
        encoding=file.encoding,
        notes=json.dumps(file.parsed.notes),
        sha256=hashlib.sha256(upload.content).hexdigest(),
        size_bytes=len(upload.content),
        characters=len(file.parsed.text),
        chunk_count=0,
        revision=revision_of(upload, size),
        version=1,
        ingested_at_s=clock.now_s(),
        collection=None,
    )
