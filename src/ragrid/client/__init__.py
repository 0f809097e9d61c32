"""The Python client library.

with GridClient("https://127.0.0.1:8443", ca_file=Path("ca.pem"), token="…") as grid:
    grid.documents.ingest("notes.md", b"# Notes", "text/markdown")
    print(grid.ask("what is in my notes?").answer)
"""

from ragrid.client.asynchronous import AsyncGridClient
from ragrid.client.credentials import ClientCredentials
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
from ragrid.client.refusals import RefusedError
from ragrid.client.synchronous import GridClient

__all__ = [
    "Answer",
    "AnswerEvent",
    "AsyncGridClient",
    "Citation",
    "Cited",
    "ClientCredentials",
    "Document",
    "Done",
    "GridClient",
    "IngestResult",
    "Piece",
    "RefusedError",
    "Token",
]
