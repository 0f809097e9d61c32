"""Files and folders to documents: what to hand in, under which name, and why the rest is left out."""

import codecs
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

LARGEST_BYTES = 32 * 1024 * 1024
#: As much of a file as is read to tell text from binary.
PROBE_BYTES = 8192

MEDIA_TYPES = {
    ".htm": "text/html",
    ".html": "text/html",
    ".markdown": "text/markdown",
    ".md": "text/markdown",
    ".rst": "text/plain",
    ".txt": "text/plain",
}
#: Folders that version control keeps for itself and that are not hidden.
VERSION_CONTROL = frozenset({"CVS", "_darcs"})

_WIDE_TEXT = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)


@dataclass(frozen=True, slots=True)
class Found:
    """A file to hand in under `name`."""

    path: Path
    name: str
    media_type: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """A path that is left out, and why."""

    path: Path
    reason: str


def walk(roots: Iterable[Path]) -> Iterator[Found | Skipped]:
    """Yield what `roots` hold, in order of their names.

    A name is the path below the folder that was given, with `/`; a file that was given has its own name. So the same
    folder gives the same names wherever it lies. Hidden files and version control are passed over without a word when
    found inside a folder; each folder is visited once, whatever links lead to it; a second file of the same name is
    skipped.
    """
    names: dict[str, Path] = {}
    visited: set[tuple[int, int]] = set()
    for root in roots:
        for one in _below(root, visited):
            if isinstance(one, Found):
                first = names.setdefault(one.name, one.path)
                if first != one.path:
                    yield Skipped(one.path, f"same name as {first}; give the folder above both")
                    continue
            yield one


def _below(root: Path, visited: set[tuple[int, int]]) -> Iterator[Found | Skipped]:
    """Yield what one root holds; an explicit stack, since folders may be nested deeper than Python may recurse."""
    base = root.parent
    stack = [root]
    while stack:
        path = stack.pop()
        try:
            seen = path.stat()
            if not stat.S_ISDIR(seen.st_mode):
                yield _judge(path, base, seen)
                continue
            if (seen.st_dev, seen.st_ino) in visited:
                yield Skipped(path, "folder was visited already (a link leads back to it)")
                continue
            base = root if path == root else base
            visited.add((seen.st_dev, seen.st_ino))
            stack.extend(sorted((one for one in path.iterdir() if not _is_passed_over(one)), reverse=True))
        except OSError as error:
            yield Skipped(path, f"unreadable: {error.strerror}")


def _is_passed_over(path: Path) -> bool:
    """Return whether something inside a folder is none of our business."""
    return path.name.startswith(".") or path.name in VERSION_CONTROL


def _judge(path: Path, base: Path, seen: os.stat_result) -> Found | Skipped:
    """Return what becomes of one file. Raises OSError when it cannot be read."""
    media_type = MEDIA_TYPES.get(path.suffix.lower())
    if not stat.S_ISREG(seen.st_mode):
        return Skipped(path, "not a regular file")
    if media_type is None:
        return Skipped(path, f"unsupported type {path.suffix!r}; wanted one of {' '.join(sorted(MEDIA_TYPES))}")
    if seen.st_size == 0:
        return Skipped(path, "empty")
    if seen.st_size > LARGEST_BYTES:
        return Skipped(path, f"too large: {seen.st_size} bytes; the limit is {LARGEST_BYTES}")
    with path.open("rb") as file:
        beginning = file.read(PROBE_BYTES)
    if b"\0" in beginning and not beginning.startswith(_WIDE_TEXT):
        return Skipped(path, "binary")
    return Found(path, _name_of(path, base), media_type, seen.st_size)


def _name_of(path: Path, base: Path) -> str:
    """Return the document's name; bytes of a file name that are no UTF-8 become U+FFFD."""
    return os.fsencode(path.relative_to(base).as_posix()).decode(errors="replace")
