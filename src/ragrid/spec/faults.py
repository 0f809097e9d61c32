"""What is wrong with a grid file, and how it is said: `where: key.path: got …, wanted …; next step`."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

#: Where a value stands in the grid: keys and list positions from the top.
Path = tuple[str | int, ...]

_MAX_SHOWN = 60
#: Most faults that are told of one file.
MAX_FAULTS = 100


class Mark(NamedTuple):
    """A place in a file; lines and columns start at 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong. Of an unknown key, `meant` is the path that was probably meant."""

    path: Path
    mark: Mark
    got: str
    wanted: str
    advice: str
    meant: tuple[Path, ...] = ()

    def line(self, name: str) -> str:
        """Return the fault as one line of text; `name` is the file's."""
        where = f"{name}:{self.mark.line}:{self.mark.column}"
        what = f"got {self.got}, wanted {self.wanted}; {self.advice}"
        return f"{where}: {written(self.path)}: {what}" if self.path else f"{where}: {what}"


def mark_at(text: str, position: int) -> Mark:
    """Return where the character at `position` of `text` stands; the end of the text is a place too."""
    before = text[:position]
    return Mark(before.count("\n") + 1, len(before) - before.rfind("\n"))


def written(path: Path) -> str:
    """Return a path as a person writes it: `services.memory.on[0]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{_shortened(part)}" for part in path)
    return text.removeprefix(".")


def shown(value: object) -> str:
    """Return a value as an error shows it: short, on one line."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}… ({len(text)} characters)"


def in_file_order(faults: Iterable[Fault], name: str) -> list[str]:
    """Return the lines of all faults, first in the file first, each once."""
    ordered = sorted(faults, key=lambda fault: (fault.mark, written(fault.path)))
    lines = list(dict.fromkeys(fault.line(name) for fault in ordered))
    more = len(lines) - MAX_FAULTS
    return [*lines[:MAX_FAULTS], f"{name}: and {more} more; mend these first"] if more > 0 else lines


def _shortened(part: str) -> str:
    readable = part.encode("unicode_escape").decode("ascii") if not part.isprintable() else part
    return readable if len(readable) <= _MAX_SHOWN else f"{readable[:_MAX_SHOWN]}…"
