"""A grid file to a checked grid: every fault at once, each with line and column."""

import copy
import stat
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from ragrid.errors import SpecError
from ragrid.spec.conflicts.conflict import Conflict
from ragrid.spec.document import Document, parse_document
from ragrid.spec.faults import Fault, Mark, Path, in_file_order, mark_at
from ragrid.spec.models import Grid
from ragrid.spec.rules import conflicts
from ragrid.spec.show import values_of
from ragrid.spec.translate import faults_of

#: Largest file that is read. A grid of 30 hosts has 10 KiB.
MAX_SIZE_BYTES = 256 * 1024
#: How often faulty parts are cut out to look at what the rest says; each round cuts nearer to the top.
_MAX_ROUNDS = 8
#: Stands in for a name that cannot be read, while the rest is checked; such a grid is never returned.
_NAMELESS = "nameless"


@dataclass(frozen=True)
class LoadedGrid:
    """A grid and where it came from. `origins` tells of each key path `file:line:column`, or `default`."""

    grid: Grid
    source: FilePath
    origins: Mapping[str, str]


def load_grid(path: FilePath) -> LoadedGrid:
    """Read and check one grid file of at most 256 KiB.

    Raises SpecError with every fault, in file order; also when the file cannot be read.
    """
    return load_grid_text(_decoded(_read(path), path), path)


def load_grid_text(text: str, name: FilePath | str) -> LoadedGrid:
    """Check the text of a grid file; `name` is what errors and origins call it.

    Raises SpecError with every fault, in file order.
    """
    if len(text) > MAX_SIZE_BYTES:
        raise SpecError([_too_large(name)])
    document = parse_document(text)
    grid, faults = _checked(document)
    if grid is None or faults:
        raise SpecError(in_file_order(faults, str(name)))
    return LoadedGrid(grid, FilePath(name), _origins(grid, document, str(name)))


def _read(path: FilePath) -> bytes:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise SpecError([f"{path}: got a folder, wanted a file; name the file in it, for example {path}/grid.yaml"])
        if not stat.S_ISREG(mode):
            raise SpecError([f"{path}: got a pipe or device, wanted a file; save the grid to a file first"])
        with path.open("rb") as file:
            content = file.read(MAX_SIZE_BYTES + 1)
    except FileNotFoundError as error:
        advice = "check the path, or copy one of the examples"
        raise SpecError([f"{path}: got no such file, wanted a grid file; {advice}"]) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SpecError([f"{path}: got {reason!r}, wanted a readable file; check its owner and mode"]) from error
    if len(content) > MAX_SIZE_BYTES:
        raise SpecError([_too_large(path)])
    return content


def _too_large(name: FilePath | str) -> str:
    limit = f"at most {MAX_SIZE_BYTES // 1024} KiB"
    return f"{name}: got a larger file, wanted {limit}; is it a grid? one of 30 hosts has 10 KiB"


def _decoded(content: bytes, path: FilePath) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SpecError([f"{path}:1:1: got UTF-16, wanted UTF-8; save the file as UTF-8 without BOM"])
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        mark = mark_at(content[: error.start].decode("utf-8"), error.start)
        got = f"the byte 0x{content[error.start]:02x}"
        message = f"{path}:{mark.line}:{mark.column}: got {got}, wanted UTF-8; save the file as UTF-8"
        raise SpecError([message]) from error


def _checked(document: Document) -> tuple[Grid | None, list[Fault]]:
    """Return the grid and every fault. Parts that are faulty are cut out, so that the rules see the rest."""
    if not isinstance(document.value, dict):
        return None, list(document.faults) or [_not_a_mapping(document)]
    grid, faults, cut = _validated(document)
    in_yaml = {fault.path for fault in document.faults}
    above = {path[:length] for path in in_yaml for length in range(len(path))}
    faults = [fault for fault in faults if fault.path not in above and not _is_within(fault.path, in_yaml)]
    if grid is not None:
        gone = in_yaml.union(cut)
        around = {path[:-1] for path in gone}
        found = (conflict for conflict in conflicts(grid) if not _is_moot(conflict, gone, around))
        faults += [_fault_of_conflict(conflict, document) for conflict in found]
    return grid, [*document.faults, *faults]


def _is_within(path: Path, places: Set[Path]) -> bool:
    return any(path[:length] in places for length in range(len(path) + 1))


def _not_a_mapping(document: Document) -> Fault:
    empty = document.value is None
    got = "an empty file" if empty else ("a list" if isinstance(document.value, list) else "a single value")
    return Fault((), Mark(1, 1), got, "a mapping", "start with `grid: NAME`; the examples show the rest")


def _is_moot(conflict: Conflict, gone: Set[Path], around: Set[Path]) -> bool:
    """Return whether a conflict depends on what was cut out (`gone`, from `around`), and so may not be there later."""
    paths = (conflict.path, *conflict.involved)
    return any(_is_within(path, gone) for path in paths) or any(path in around for path in conflict.involved)


def _fault_of_conflict(conflict: Conflict, document: Document) -> Fault:
    """Point at the first of the keys that the file has: the others hold their defaults."""
    paths = (conflict.path, *conflict.involved)
    there = next((path for path in paths if path in document.values_at), conflict.path)
    return Fault(conflict.path, document.mark_of(there), conflict.got, conflict.wanted, conflict.advice)


def _validated(document: Document) -> tuple[Grid | None, list[Fault], list[Path]]:
    """Return the grid that is left when what is faulty is cut out, if any is; all faults; and what was cut out."""
    value: dict[str, Any] = copy.deepcopy(document.value)
    told: list[Fault] = []
    cut: list[Path] = []
    for _ in range(_MAX_ROUNDS):
        try:
            return Grid.model_validate(value), told, cut
        except ValidationError as error:
            found = faults_of(error, document)
        told = told or _worth_telling(found, document)  # later faults only follow from what was cut out
        value.setdefault("grid", _NAMELESS)
        cut += [_cut(value, fault.path) for fault in found]
        cut += [path for fault in found for path in fault.meant]
    return None, told, cut


def _worth_telling(found: list[Fault], document: Document) -> list[Fault]:
    """Leave out faults of values that the loader itself filled in from other, faulty ones."""
    return [fault for fault in found if fault.got == "nothing" or document.mentions(fault.path)] or found


def _cut(value: Any, path: Path) -> Path:
    """Delete the mapping member that holds `path`, and return its path.

    A key that is missing takes the mapping it is missing from with it; what was deleted already stays so.
    """
    trail: list[tuple[dict[str | int, Any], Path]] = []
    for depth, part in enumerate(path):
        if isinstance(value, dict) and part in value:
            trail.append((value, path[: depth + 1]))
            value = value[part]
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        elif depth < len(path) - 1:
            return path
    if not trail:
        return path
    holder, member = trail[-1]
    del holder[member[-1]]
    if member == ("grid",):
        holder["grid"] = _NAMELESS
    return member


def _origins(grid: Grid, document: Document, name: str) -> dict[str, str]:
    return {text: _origin(path, document, name) for path, text, _ in values_of(grid)}


def _origin(path: Path, document: Document, name: str) -> str:
    if not document.mentions(path):
        return "default"
    mark = document.mark_of(path)
    return f"{name}:{mark.line}:{mark.column}"
