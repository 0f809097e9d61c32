"""Every value of a grid, with where it came from; secrets appear as the references that they are."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from ragrid.spec.faults import Path, written
from ragrid.spec.models import Grid

if TYPE_CHECKING:
    from ragrid.spec.load import LoadedGrid

Plain = None | bool | int | str | list[str] | dict[str, str]


def effective_values(loaded: "LoadedGrid") -> list[tuple[str, Plain, str]]:
    """Return (key path, value, origin) of every value, in the order of the models; origin as in LoadedGrid."""
    return [(text, value, loaded.origins[text]) for _, text, value in values_of(loaded.grid)]


def values_of(grid: Grid) -> list[tuple[Path, str, Plain]]:
    """Return path, written path and value of every value that `grid` holds. A list of plain values is one value."""
    return [(path, written(path), value) for path, value in _leaves(grid, ())]


def _leaves(value: Any, path: Path) -> Iterator[tuple[Path, Plain]]:
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            yield from _leaves(getattr(value, name), (*path, field.alias or name))
    elif isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, tuple) and any(isinstance(item, BaseModel) for item in value):
        for position, item in enumerate(value):
            yield from _leaves(item, (*path, position))
    else:
        yield path, plain(value)


def plain(value: Any) -> Plain:
    """Return a value as YAML and JSON can hold it."""
    if isinstance(value, dict):
        return {}
    if isinstance(value, tuple):
        return [str(item) for item in value]
    return value if value is None or isinstance(value, bool | int) else str(value)
