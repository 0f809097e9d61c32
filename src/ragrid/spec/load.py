"""A grid file to a checked grid: every fault at once, each with line and column."""

import copy
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from ragrid.errors import SpecError
from ragrid.spec.document import Document, parse_document
from ragrid.spec.faults import Fault, Mark, Path, in_file_order, overlap
from ragrid.spec.models import Grid
from ragrid.spec.rules import conflicts
from ragrid.spec.show import values_of
from ragrid.spec.translate import fault_of

#: Largest file that is read. A grid of 30 hosts has 10 KiB.
MAX_SIZE_BYTES = 256 * 1024
#: How often faulty parts are cut out to look at what the rest says; each round cuts nearer to the top.
_MAX_ROUNDS = 8


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
        before = content[: error.start].decode("utf-8")
        line, column = before.count("\n") + 1, error.start and len(before) - before.rfind("\n")
        got = f"the byte 0x{content[error.start]:02x}"
        message = f"{path}:{line}:{max(column, 1)}: got {got}, wanted UTF-8; save the file as UTF-8"
        raise SpecError([message]) from error


def _checked(document: Document) -> tuple[Grid | None, list[Fault]]:
    faults = list(document.faults)
    if not isinstance(document.value, dict):
        return None, faults or [_not_a_mapping(document)]
    grid, validation = _validated(document)
    yaml_faults = [fault.path for fault in faults]
    faults += [fault for fault in validation if not any(overlap(fault.path, path) for path in yaml_faults)]
    if grid is None:
        return None, faults
    wrong = [fault.path for fault in (*document.faults, *validation)]
    for conflict in conflicts(grid):
        depends_on = (conflict.path, *conflict.involved)
        if not any(overlap(path, bad) for path in depends_on for bad in wrong):
            mark = document.mark_of(conflict.path)
            faults.append(Fault(conflict.path, mark, conflict.got, conflict.wanted, conflict.advice))
    return grid, faults


def _not_a_mapping(document: Document) -> Fault:
    empty = document.value is None
    got = "an empty file" if empty else ("a list" if isinstance(document.value, list) else "a single value")
    return Fault((), Mark(1, 1), got, "a mapping", "start with `grid: NAME`; the examples show the rest")


def _validated(document: Document) -> tuple[Grid | None, list[Fault]]:
    """Return all faults of keys and values, and the grid that is left when what is faulty is cut out, if any is."""
    value: dict[str, Any] = copy.deepcopy(document.value)
    faults: list[Fault] = []
    for _ in range(_MAX_ROUNDS):
        try:
            return Grid.model_validate(value), faults
        except ValidationError as error:
            found = [fault_of(detail, document) for detail in error.errors(include_url=False)]
        written = [fault for fault in found if fault.path in document.keys_at or fault.path in document.values_at]
        faults += [each for each in _first_round(found, written, faults) if each not in faults]
        if not all(_cut(value, fault.path) for fault in found):
            break
    return None, faults


def _first_round(found: list[Fault], written: list[Fault], known: list[Fault]) -> list[Fault]:
    """Return the faults worth telling: of later rounds none, since they only follow from what was cut out."""
    if known:
        return []
    missing = [fault for fault in found if fault.got == "nothing"]
    return list(dict.fromkeys((*written, *missing))) or found


def _cut(value: Any, path: Path) -> bool:
    """Delete the mapping member that holds `path`; return False when that is the whole grid.

    A member that is missing takes the mapping it is missing from with it. What was deleted already is left alone.
    """
    trail: list[tuple[dict[str, Any], str]] = []
    for depth, part in enumerate(path):
        if isinstance(value, dict) and part in value:
            trail.append((value, str(part)))
            value = value[part]
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        elif depth < len(path) - 1:
            return True
    if not trail:
        return False
    holder, key = trail[-1]
    holder.pop(key, None)
    return True


def _origins(grid: Grid, document: Document, name: str) -> dict[str, str]:
    return {text: _origin(path, document, name) for path, text, _ in values_of(grid)}


def _origin(path: Path, document: Document, name: str) -> str:
    mark = document.values_at.get(path)
    if mark is None and path[-1:] == ("path",) and document.is_scalar(path[:-1]):  # a repository that is a path alone
        mark = document.values_at[path[:-1]]
    return "default" if mark is None else f"{name}:{mark.line}:{mark.column}"
