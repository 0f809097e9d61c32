"""What goes over the wire: requests, and the JSON of documents, passages and answers. Pure."""

import base64
import binascii
import json
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from ragrid.inference.generator import Passage
from ragrid.services.rag.log import Document
from ragrid.services.rag.retrieve import Mode
from ragrid.web.problem import Problem

QUESTION_LIMIT = 8_000
NAME_LIMIT = 512
_FIRST_PRINTABLE = 32

Count = Annotated[int, msgspec.Meta(ge=1, le=50)]


class SearchRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`POST /rag/v1/search`."""

    question: str
    k: Count = 6
    mode: Mode = "hybrid"


class AskRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`POST /rag/v1/ask`."""

    question: str
    k: Count = 6
    stream: bool = False


def check_question(question: str) -> str:
    """Return the question without surrounding space; raises a 422 Problem for one of 0 or over 8,000 characters."""
    stripped = question.strip()
    if stripped and len(question) <= QUESTION_LIMIT:
        return stripped
    detail = f"got {len(question)} characters, wanted 1 to {QUESTION_LIMIT} and not only space"
    raise Problem(422, "invalid-question", f"question: {detail}", errors=[{"pointer": "/question", "detail": detail}])


def check_name(name: str | None) -> str:
    """Return a document's name; raises a 422 Problem for one that is missing, too long or not printable."""
    if name and len(name) <= NAME_LIMIT and all(ord(letter) >= _FIRST_PRINTABLE for letter in name):
        return name
    detail = f"got {(name or '')[:80]!r}, wanted 1 to {NAME_LIMIT} printable characters"
    raise Problem(422, "invalid-name", f"name: {detail}; send ?name=…")


def check_limit(text: str | None) -> int:
    """Return the page size; raises a 422 Problem for anything but 1 to 1000."""
    if text is None:
        return 100
    if text.isdecimal() and 1 <= int(text[:5]) <= 1000:
        return int(text)
    raise Problem(422, "invalid-limit", f"limit: got {text[:20]!r}, wanted 1 to 1000")


def encode_cursor(name: str) -> str:
    """Return an opaque cursor that continues after `name`."""
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> str:
    """Return the name to continue after; raises a 422 Problem for a cursor that is not ours."""
    try:
        padded = (cursor or "") + "=" * (-len(cursor or "") % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error) as error:
        raise Problem(
            422, "invalid-cursor", "cursor: got something else than what a list answered; start over"
        ) from error


def document_json(document: Document, collection: str | None) -> dict[str, Any]:
    """Return a document as clients see it; `collection` is the one in use, None while that is unknown."""
    indexed = document.collection is not None and collection in (None, document.collection)
    return {
        "document": document.name,
        "id": document.id,
        "title": document.title,
        "media_type": document.media_type,
        "encoding": document.encoding,
        "notes": json.loads(document.notes),
        "sha256": document.sha256,
        "size_bytes": document.size_bytes,
        "characters": document.characters,
        "chunks": document.chunk_count,
        "version": document.version,
        "ingested_at": datetime.fromtimestamp(document.ingested_at_s, UTC).isoformat(timespec="seconds"),
        "state": "indexed" if indexed else "pending",
    }


def passage_json(passage: Passage, number: int) -> dict[str, Any]:
    """Return a passage as clients see it; answers cite it as [number]."""
    return {
        "number": number,
        "document": passage.document,
        "document_id": passage.document_id,
        "start": passage.start,
        "end": passage.end,
        "text": passage.text,
        "context": passage.context,
        "score": passage.score,
    }


def milliseconds(timings_s: dict[str, float]) -> dict[str, float]:
    """Return the phases in milliseconds, as the answer's `timings_ms` has them."""
    return {phase: round(seconds * 1000, 2) for phase, seconds in sorted(timings_s.items())}
