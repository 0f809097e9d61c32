"""Keys that a grid may hold though nothing acts on them yet; `section.NotYet` marks each where it is declared."""

from collections.abc import Mapping

from pydantic.fields import FieldInfo

from ragrid.spec.faults import Path, written
from ragrid.spec.load import LoadedGrid
from ragrid.spec.models import Grid
from ragrid.spec.outline import Shape, keys_of
from ragrid.spec.section import NotYet
from ragrid.spec.show import values_of


def not_yet(field: FieldInfo, shape: Shape) -> str | None:
    """Return what a key does not do yet; None when all of it works. A section in which nothing is used is not used."""
    marked = next((each.says for each in field.metadata if isinstance(each, NotYet)), None)
    inner = shape.inner_section
    if marked is not None or inner is None:
        return marked
    within = {not_yet(each, inside) for _, each, inside in keys_of(inner)}
    return within.pop() if len(within) == 1 else None


def meaning(field: FieldInfo, shape: Shape) -> str:
    """Return what a key is for, after what it does not do yet."""
    missing = not_yet(field, shape)
    description = field.description or ""
    return description if missing is None else f"**{missing[0].upper()}{missing[1:]}.** {description}"


def asked_in_vain(loaded: LoadedGrid) -> Mapping[str, str]:
    """Return what the file says itself, and not a default, that is not done yet: key path to what is missing.

    Of a section in which nothing is used, the section alone. In alphabetical order.
    """
    said = [path for path, text, _ in values_of(loaded.grid) if loaded.origins[text] != "default"]
    return dict(sorted(found for path in said if (found := _first_on(path)) is not None))


def _first_on(path: Path) -> tuple[str, str] | None:
    """Return the first key on the way to `path` that is marked, with what it says."""
    shape: Shape | None = Shape(section=Grid)
    for length, part in enumerate(path, start=1):
        if shape is None:
            break
        if shape.section is None:
            shape = shape.list_of if isinstance(part, int) else shape.map_of
            continue
        field, shape = next((field, found) for key, field, found in keys_of(shape.section) if key == part)
        missing = not_yet(field, shape)
        if missing is not None:
            return written(path[:length]), missing
    return None
