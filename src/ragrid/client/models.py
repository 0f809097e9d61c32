"""What the grid answers, as values: immutable, tolerant of members that a newer grid adds."""

from typing import Literal

import msgspec


class _Model(msgspec.Struct, frozen=True, kw_only=True):
    """Common ground: immutable, named members; unknown ones are left out."""


class Token(_Model, frozen=True, kw_only=True):
    """An access token. Keep it secret; it is not shown when the value is printed."""

    access_token: str
    expires_in_s: float = msgspec.field(name="expires_in")
    scope: str = ""

    def __repr__(self) -> str:
        return f"Token(expires_in_s={self.expires_in_s:g}, scope={self.scope!r})"


class IngestResult(_Model, frozen=True, kw_only=True):
    """What became of one document.

    It is durable in any case; `state` is `pending` when the vector store was away, so that it is found by words alone
    until that is back.
    """

    document: str
    status: Literal["ingested", "unchanged", "replaced"]
    chunks: int = 0
    state: Literal["indexed", "pending"] = "indexed"
    notes: tuple[str, ...] = ()


class Document(_Model, frozen=True, kw_only=True):
    """One document that the grid holds."""

    document: str
    title: str | None = None
    chunks: int = 0
    media_type: str = ""
    size_bytes: int = 0
    ingested_at: str = ""
    state: str = ""


class Citation(_Model, frozen=True, kw_only=True):
    """A passage: characters `start` to `end` of the document's text; of two scores, the higher fits better."""

    document: str
    start: int
    end: int
    text: str
    score: float


class Answer(_Model, frozen=True, kw_only=True):
    """An answer and the passages it rests on.

    The text cites passage n as [n], counted from 1; `cited` lists those that it did cite. `degraded` names what was
    away and done without, such as `generator-away` (the best passages stand in for it).
    """

    answer: str
    citations: tuple[Citation, ...] = ()
    cited: tuple[int, ...] = ()
    generator: str = ""
    embedder: str = ""
    degraded: tuple[str, ...] = ()
    timings_ms: dict[str, float] = {}


class Cited(_Model, frozen=True, kw_only=True):
    """First event of a streamed answer: the passages it will rest on."""

    citations: tuple[Citation, ...]


class Piece(_Model, frozen=True, kw_only=True):
    """The next piece of a streamed answer's text."""

    text: str


class Done(_Model, frozen=True, kw_only=True):
    """Last event of a streamed answer; a stream without it was cut off."""

    cited: tuple[int, ...] = ()
    generator: str = ""
    embedder: str = ""
    degraded: tuple[str, ...] = ()
    timings_ms: dict[str, float] = {}


AnswerEvent = Cited | Piece | Done
