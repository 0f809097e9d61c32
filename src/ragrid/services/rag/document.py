"""What a parser makes of a file: plain text, its title and its headings, all addressed by character offsets."""

import re
from bisect import bisect_right
from dataclasses import dataclass, field

_SPACES = re.compile(r"[ \t\r\n\f\v\u00a0]+")


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading that begins at character `start` of the text; `level` is 1 to 6."""

    start: int
    level: int
    title: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """Plain text with its outline. `notes` says what the reader should know, such as a guessed encoding."""

    text: str
    title: str = ""
    headings: tuple[Heading, ...] = ()
    notes: tuple[str, ...] = ()

    def context_at(self, position: int) -> str:
        """Return title and headings above `position`, outermost first: `Title > Chapter > Section`."""
        path: list[Heading] = []
        last = bisect_right(self.headings, position, key=lambda heading: heading.start)
        for heading in reversed(self.headings[:last]):
            if not path or heading.level < path[-1].level:
                path.append(heading)
            if heading.level == 1:
                break
        titles = [heading.title for heading in reversed(path) if heading.title not in self.title]
        return " > ".join(title for title in (self.title, *titles) if title)


@dataclass
class Builder:
    """Text under construction, block by block."""

    parts: list[str] = field(default_factory=list)
    headings: list[Heading] = field(default_factory=list)
    length: int = 0
    _tight: bool = False

    def block(self, text: str, *, tight: bool = False) -> None:
        """Add a block after an empty line; two `tight` ones in a row (list items, table rows) stand line by line."""
        if not text.strip():
            return
        if self.parts:
            self._append("\n" if tight and self._tight else "\n\n")
        self._append(text)
        self._tight = tight

    def heading(self, level: int, title: str) -> None:
        """Add a heading as a block of its own."""
        if title := collapse(title):
            self.block(title)
            self.headings.append(Heading(self.length - len(title), level, title))

    def parsed(self, title: str) -> Parsed:
        """Return the finished text; without a `title` of its own a document is called after its first heading."""
        first = self.headings[0].title if self.headings else ""
        return Parsed("".join(self.parts), collapse(title) or first, tuple(self.headings))

    def _append(self, text: str) -> None:
        self.parts.append(text)
        self.length += len(text)


def collapse(text: str) -> str:
    """Return `text` on one line with single spaces."""
    return _SPACES.sub(" ", text).strip()
