"""The Python client library.

with GridClient("https://127.0.0.1:8443", ca_file=Path("ca.pem"), token="…") as grid:
    grid.documents.ingest("notes.md", b"# Notes", "text/markdown")
    print(grid.ask("what is in my notes?").answer)
    tea = grid.memories.create("Ada drinks green tea at four", user_id="ada", tags=["drink"])
    grid.memories.update(tea.id, importance=0.9, if_version=tea.version)
"""

from ragrid.client.asynchronous import AsyncGridClient
from ragrid.client.credentials import AsyncClientCredentials, ClientCredentials
from ragrid.client.memory.asynchronous import AsyncMemories
from ragrid.client.memory.models import Hit, Hits, Memory, MemoryEvent
from ragrid.client.memory.synchronous import Memories
from ragrid.client.models import (
    Answer,
    AnswerEvent,
    Citation,
    Cited,
    Document,
    Done,
    IngestResult,
    Piece,
    Token,
)
from ragrid.client.proof import PrivateKey
from ragrid.client.refusals import (
    NoAnswerError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    VersionConflictError,
)
from ragrid.client.retry import ONCE, Retry
from ragrid.client.synchronous import GridClient

__all__ = [
    "ONCE",
    "Answer",
    "AnswerEvent",
    "AsyncClientCredentials",
    "AsyncGridClient",
    "AsyncMemories",
    "Citation",
    "Cited",
    "ClientCredentials",
    "Document",
    "Done",
    "GridClient",
    "Hit",
    "Hits",
    "IngestResult",
    "Memories",
    "Memory",
    "MemoryEvent",
    "NoAnswerError",
    "NotFoundError",
    "Piece",
    "PrivateKey",
    "RefusedError",
    "Retry",
    "Token",
    "UnavailableError",
    "VersionConflictError",
]
