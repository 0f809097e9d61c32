"""Keeps the vector index of a tenant in step with the ingest log."""

import asyncio
import hashlib
import logging
import re
from collections.abc import Sequence
from weakref import WeakValueDictionary

from ragrid.errors import UnreachableError
from ragrid.inference.embedder import Embedder, FloatArray
from ragrid.services.rag import metrics
from ragrid.services.rag.log import Chunk, Document, IngestLog
from ragrid.services.rag.threads import LogThreads
from ragrid.services.rag.vectors import Caller, VectorStore

logger = logging.getLogger(__name__)

#: Chunks that are embedded and written together: what is lost of the work when it is cut.
_STEP = 128
_UNSAFE = re.compile(r"[^a-z0-9]+")


def collection_name(embedder: str, dimension: int) -> str:
    """Return the collection for the vectors of one embedder: another embedder never meets them.

    Names that differ only in signs that ChromaDB does not take stay apart by their digest.
    """
    plain = _UNSAFE.sub("-", embedder.lower()).strip("-")[:60] or "embedder"
    digest = hashlib.sha256(embedder.encode()).hexdigest()[:8]
    return f"ragrid-{plain}-{dimension}-{digest}"


class VectorIndex:
    """Embeds chunks and puts them into ChromaDB, as far as the log says they are missing there."""

    def __init__(self, log: LogThreads, embedder: Embedder, vectors: VectorStore) -> None:
        self.embedder = embedder
        self.vectors = vectors
        self._log = log
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def lock(self, document_id: str) -> asyncio.Lock:
        """Return the lock that every change of one document holds."""
        return self._locks.setdefault(document_id, asyncio.Lock())

    async def embed(self, texts: Sequence[str], purpose: str) -> FloatArray:
        """Return the vectors of `texts`, with the time that it took counted under `purpose`."""
        with metrics.EMBED_S.labels(purpose).time():
            return await self.embedder.embed(texts)

    async def collection(self) -> str:
        """Return the name of the collection in use; an embedder that does not know its dimension is asked once."""
        if not self.embedder.dimension:
            await self.embed(["dimension"], "readiness")
        return collection_name(self.embedder.name, self.embedder.dimension)

    async def complete(self, caller: Caller, document: Document) -> None:
        """Bring all chunks of `document` into the index and note it; goes on where an earlier attempt stopped.

        The caller holds the document's lock. Raises UnreachableError when ChromaDB or the embedder is away.
        """
        collection = await self.collection()
        while chunks := await self._log.read(IngestLog.unindexed_chunks, document.id, collection, _STEP):
            rows = await self.embed([embedded_text(chunk) for chunk in chunks], "ingest")
            await self.vectors.upsert(
                caller,
                collection,
                rows,
                ids=[chunk.id for chunk in chunks],
                metadatas=[metadata_of(chunk, document) for chunk in chunks],
            )
            await self._log.write(IngestLog.mark_chunks, chunks, collection)
        if document.version > 1:
            older = {"$and": [{"document_id": document.id}, {"revision": {"$ne": document.revision}}]}
            await self.vectors.delete(caller, collection, older)
        await self._log.write(IngestLog.mark_document, document, collection)

    async def sweep(self, caller: Caller) -> None:
        """Delete the vectors of documents that were deleted; call it without holding any document's lock.

        Raises UnreachableError when ChromaDB is away.
        """
        for document_id in await self._log.read(IngestLog.deleted, caller.tenant):
            async with self.lock(document_id):
                # It may have been ingested again while this waited; its vectors are new ones then.
                if document_id in await self._log.read(IngestLog.deleted, caller.tenant):
                    await self.vectors.delete(caller, await self.collection(), {"document_id": document_id})
                    await self._log.write(IngestLog.purge, document_id)

    async def rebuild(self, caller: Caller) -> tuple[int, int]:
        """Make the tenant's index anew from the log alone; return how many documents and chunks it holds.

        Meanwhile questions are answered from the lexical index and from what is done already.
        """
        collection = await self.collection()
        await self.vectors.prepare_tenant(caller)
        await self._log.write(IngestLog.forget_index, caller.tenant)
        await self.vectors.drop(caller, collection)
        documents = chunks = 0
        for document_id in await self._log.read(IngestLog.document_ids, caller.tenant):
            async with self.lock(document_id):
                document = await self._log.read(IngestLog.find, caller.tenant, document_id)
                if document is not None:
                    await self.complete(caller, document)
                    documents, chunks = documents + 1, chunks + document.chunk_count
        await self.sweep(caller)
        logger.info("index rebuilt", extra={"tenant": caller.tenant, "documents": documents, "chunks": chunks})
        return documents, chunks

    async def try_sweep(self, caller: Caller) -> bool:
        """Like `sweep`, but leave the rest for the next write when ChromaDB is away; say whether all is done."""
        try:
            await self.sweep(caller)
        except UnreachableError as error:
            logger.warning("vectors of deleted documents are left over", extra={"reason": str(error)})
            return False
        return True


def embedded_text(chunk: Chunk) -> str:
    """Return what is embedded: headings above a passage often name what the passage itself only calls `it`."""
    return f"{chunk.context}\n{chunk.text}" if chunk.context else chunk.text


def metadata_of(chunk: Chunk, document: Document) -> dict[str, str | int]:
    """Return what lies beside a vector; the text itself is in the log."""
    return {
        "document_id": document.id,
        "document": document.name,
        "revision": document.revision,
        "start": chunk.start,
        "end": chunk.end,
    }
