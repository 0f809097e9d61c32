"""Puts the service together from its settings."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.applications import Starlette

from ragrid.errors import RagridError
from ragrid.identity.open import open_verifier
from ragrid.inference.choose import open_embedder, open_generator
from ragrid.inference.extractive import ExtractiveGenerator
from ragrid.inference.http import open_client
from ragrid.services.rag.ask import Asking
from ragrid.services.rag.chunk import ChunkSize
from ragrid.services.rag.index import VectorIndex
from ragrid.services.rag.ingest import Ingest
from ragrid.services.rag.log import IngestLog
from ragrid.services.rag.retrieve import Retrieval
from ragrid.services.rag.routes import Parts, build_routes
from ragrid.services.rag.threads import LogThreads
from ragrid.services.rag.vectors import VectorStore
from ragrid.spec.settings import RagSettings
from ragrid.system.clock import Clock, SystemClock
from ragrid.web.application import build_application

NAME = "rag"
#: One request to ChromaDB, seconds: an upsert of a full batch on a busy machine takes a few.
VECTORS_TIMEOUT_S = 30.0
_LOG_FILE = "ingest.sqlite3"


def build(settings: RagSettings, clock: Clock | None = None) -> Starlette:
    """Return the application; the log and the model are opened here, so that a start that cannot work fails at once.

    Raises StateError for a damaged log, MissingError for an absent model, RagridError for settings that make no sense.
    """
    clock = clock or SystemClock()
    try:
        size = ChunkSize(settings.chunk_words, settings.chunk_overlap_words)
    except ValueError as error:
        raise RagridError(f"rag settings: {error}; change the chunk size in the grid file") from error
    embedder = open_embedder(settings.embedder)
    generator = open_generator(settings.generator, embedder)
    quoting = generator if isinstance(generator, ExtractiveGenerator) else ExtractiveGenerator(embedder)
    client = open_client(ca_file=settings.gateway_ca_file, api_key_file=None, timeout_s=VECTORS_TIMEOUT_S)
    vectors = VectorStore(client, settings.gateway_url)
    log = LogThreads(settings.data_directory / _LOG_FILE)
    index = VectorIndex(log, embedder, vectors)
    retrieval = Retrieval(log, index, clock)
    ingest = Ingest(log, index, size=size, clock=clock)
    parts = Parts(log, index, ingest, retrieval, Asking(retrieval, generator, quoting, clock))

    async def readiness() -> Mapping[str, Any]:
        documents, chunks, pending = await log.read(IngestLog.counts)
        collection = await index.collection()
        await index.embed(["ready"], "readiness")
        return {
            "documents": documents,
            "chunks": chunks,
            "pending": pending,
            "embedder": embedder.name,
            "is_semantic": embedder.is_semantic,
            "generator": generator.name,
            "collection": collection,
        }

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await generator.close()
        await embedder.close()
        await vectors.close()
        await log.close()

    return build_application(
        build_routes(parts, settings.public_prefix),
        verifier=open_verifier(settings.trust, clock),
        readiness=readiness,
        name=NAME,
        lifespan=lifespan,
    )
