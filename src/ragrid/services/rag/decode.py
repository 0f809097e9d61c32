"""Bytes to text: which kind of document it is, and in which encoding. Pure."""

import codecs
import re
from pathlib import PurePosixPath

from ragrid.web.problem import Problem

PLAIN, MARKDOWN, HTML = "text/plain", "text/markdown", "text/html"
_KINDS = {
    PLAIN: PLAIN,
    MARKDOWN: MARKDOWN,
    "text/x-markdown": MARKDOWN,
    HTML: HTML,
    "application/xhtml+xml": HTML,
}
_SUFFIXES = {
    ".md": MARKDOWN,
    ".markdown": MARKDOWN,
    ".html": HTML,
    ".htm": HTML,
    ".xhtml": HTML,
    ".txt": PLAIN,
    ".text": PLAIN,
    ".rst": PLAIN,
    "": PLAIN,
}
#: What a client sends that knows nothing about the file: the name decides then.
_UNKNOWN = {"", "application/octet-stream", "application/x-www-form-urlencoded"}
#: First bytes of formats that are often sent by mistake; each is binary even where it holds no NUL byte.
_MAGIC = {
    b"%PDF-": "PDF",
    b"PK\x03\x04": "ZIP or Office",
    b"\x1f\x8b": "gzip",
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"\x7fELF": "ELF",
    b"{\\rtf": "RTF",
}
#: Longer marks first: UTF-32 little endian begins with the mark of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
#: HTML says its encoding within the first 1024 bytes (WHATWG, "prescan a byte stream").
_PRESCAN_BYTES = 1024
_META_CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]+)", re.IGNORECASE)
_HEADER_CHARSET = re.compile(r"charset\s*=\s*\"?([A-Za-z0-9_.:-]+)", re.IGNORECASE)
#: Everything below space but tab and newline; a NUL was refused before.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufeff]")
FALLBACK = "cp1252"


def media_type_of(name: str, content_type: str) -> str:
    """Return `text/plain`, `text/markdown` or `text/html`; the header counts first, then the name's ending.

    Raises a 415 Problem naming what is taken.
    """
    sent = content_type.partition(";")[0].strip().lower()
    suffix = PurePosixPath(name).suffix.lower()
    if sent in _UNKNOWN or (sent == PLAIN and suffix in _SUFFIXES):
        found = _SUFFIXES.get(suffix, PLAIN if sent == PLAIN else None)
    else:
        found = _KINDS.get(sent, PLAIN if sent.startswith("text/") else None)
    if found is None:
        got = sent if sent not in _UNKNOWN else suffix
        raise Problem(415, "unsupported-media-type", f"{name}: got {got!r}, wanted text, Markdown or HTML; convert it")
    return found


def decode(content: bytes, *, name: str, media_type: str, content_type: str) -> tuple[str, str, tuple[str, ...]]:
    """Return the text, the encoding, and notes on what was guessed or replaced; newlines are `\\n`.

    Order: byte order mark, the charset of the header or of the HTML, UTF-8, then cp1252 with a note.
    Raises a Problem: 422 for an empty file, 415 for a binary one.
    """
    if not content.strip():
        raise Problem(422, "empty-document", f"{name}: the file is empty; send a document with text")
    _refuse_binary(content, name)
    marked = next(((mark, encoding) for mark, encoding in _MARKS if content.startswith(mark)), None)
    if marked is not None:
        text, lossy = _decode_as(content[len(marked[0]) :], marked[1])
        return _clean(text), marked[1], ("undecodable-bytes-replaced",) if lossy else ()
    for encoding in (*_declared(content, media_type, content_type), "utf-8"):
        text, lossy = _decode_as(content, encoding)
        if not lossy:
            return _clean(text), encoding, ()
    text, _ = _decode_as(content, FALLBACK)
    return _clean(text), FALLBACK, ("encoding-guessed",)


def _refuse_binary(content: bytes, name: str) -> None:
    kind = next((kind for magic, kind in _MAGIC.items() if content.startswith(magic)), None)
    marked = any(content.startswith(mark) for mark, _ in _MARKS)
    if kind is None and (marked or b"\x00" not in content):
        return
    what = f"a {kind} file" if kind else f"a NUL byte at offset {content.index(0)}"
    raise Problem(415, "binary-document", f"{name}: got {what}, wanted text, Markdown or HTML; convert it")


def _declared(content: bytes, media_type: str, content_type: str) -> tuple[str, ...]:
    """Return the usable encodings that header and markup name, in this order."""
    names = [match[1] for match in [_HEADER_CHARSET.search(content_type)] if match]
    if media_type == HTML and (match := _META_CHARSET.search(content[:_PRESCAN_BYTES])):
        names.append(match[1].decode("ascii"))
    return tuple(found for found in map(_known_encoding, names) if found)


def _known_encoding(name: str) -> str | None:
    """Latin-1 on the web means cp1252 (WHATWG encoding standard)."""
    try:
        codec = codecs.lookup(name)
    except LookupError:
        return None
    # Codecs such as hex or zip are no encodings of text.
    if not getattr(codec, "_is_text_encoding", True):
        return None
    return FALLBACK if codec.name in {"iso8859-1", "ascii"} else codec.name


def _decode_as(content: bytes, encoding: str) -> tuple[str, bool]:
    try:
        return content.decode(encoding), False
    except UnicodeDecodeError:
        return content.decode(encoding, errors="replace"), True


def _clean(text: str) -> str:
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
