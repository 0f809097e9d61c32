"""A file to plain text with an outline, whichever of the known kinds it is. Pure."""

from dataclasses import dataclass, replace

from markdown_it import MarkdownIt
from markdown_it.token import Token

from ragrid.services.rag.decode import HTML, MARKDOWN, decode, media_type_of
from ragrid.services.rag.document import Builder, Parsed
from ragrid.services.rag.parse_html import parse_html
from ragrid.web.problem import Problem

#: Changes whenever the same bytes would become another text or other chunks: unchanged files are read again then.
PARSER_VERSION = 1


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as it was sent."""

    name: str
    content: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """A file as it was understood."""

    parsed: Parsed
    media_type: str
    encoding: str


def parse(upload: Upload) -> ParsedFile:
    """Return the plain text of `upload`.

    Raises a Problem: 415 for a kind that is not read or for binary content, 422 for a file without any text.
    """
    media_type = media_type_of(upload.name, upload.content_type)
    text, encoding, notes = decode(
        upload.content, name=upload.name, media_type=media_type, content_type=upload.content_type
    )
    if media_type == HTML:
        parsed = parse_html(text)
    elif media_type == MARKDOWN:
        parsed = parse_markdown(text)
    else:
        parsed = Parsed(text.strip("\n"))
    if not parsed.text.strip():
        raise Problem(422, "empty-document", f"{upload.name}: no text is left of it; send a document with text")
    return ParsedFile(replace(parsed, notes=(*notes, *parsed.notes)), media_type, encoding)


def parse_markdown(text: str) -> Parsed:
    """Return what a rendered page would say: marks are gone, code and tables stay, embedded HTML is read as HTML."""
    builder = Builder()
    reader = _MarkdownReader(builder)
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        reader.read(token)
    return builder.parsed("")


class _MarkdownReader:
    """Turns markdown-it's flat list of tokens into blocks."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._heading_level = 0
        self._list_depth = 0
        self._is_item_start = False
        self._cells: list[str] | None = None

    def read(self, token: Token) -> None:
        match token.type:
            case "heading_open" | "heading_close":
                self._heading_level = int(token.tag[1:]) if token.nesting > 0 else 0
            case "bullet_list_open" | "ordered_list_open" | "bullet_list_close" | "ordered_list_close":
                self._list_depth += token.nesting
            case "list_item_open":
                self._is_item_start = True
            case "tr_open":
                self._cells = []
            case "tr_close":
                self._builder.block(" | ".join(self._cells or ()), tight=True)
                self._cells = None
            case "inline":
                self._inline(_plain(token.children or ()))
            case "fence" | "code_block":
                self._builder.block(token.content.strip("\n"))
            case "html_block":
                self._builder.block(parse_html(token.content).text)

    def _inline(self, text: str) -> None:
        if self._heading_level:
            self._builder.heading(self._heading_level, text)
        elif self._cells is not None:
            self._cells.append(text)
        elif self._list_depth:
            mark = "- " if self._is_item_start else ""
            self._builder.block(mark + text, tight=True)
        else:
            self._builder.block(text)
        self._is_item_start = False


def _plain(children: list[Token] | tuple[()]) -> str:
    parts: list[str] = []
    for child in children:
        if child.type in {"text", "code_inline", "image"}:
            parts.append(child.content)
        elif child.type == "softbreak":
            parts.append(" ")
        elif child.type == "hardbreak":
            parts.append("\n")
    return "".join(parts)
