"""What may stand at each place of the grid, read off the models: for errors, `config show` and the reference page."""

import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from ragrid.spec.faults import Path
from ragrid.spec.scalars import Kind
from ragrid.spec.section import Section


@dataclass(frozen=True)
class Shape:
    """What one place may hold: exactly one of a scalar kind, choices, a switch, a section, a list, a map."""

    kind: Kind | None = None
    choices: tuple[str, ...] = ()
    is_switch: bool = False
    section: type[Section] | None = None
    list_of: "Shape | None" = None
    map_of: "Shape | None" = None

    @property
    def wanted(self) -> str:
        """The phrase for error messages."""
        if self.kind is not None:
            return self.kind.wanted
        if self.choices:
            return alternatives(self.choices)
        if self.is_switch:
            return "true or false"
        return f"a list, each item {self.list_of.wanted}" if self.list_of is not None else "a mapping"

    @property
    def inner_section(self) -> type[Section] | None:
        """The section that stands here, or of which a list or a map stands here."""
        inner = self.list_of or self.map_of
        return self.section if inner is None else inner.section

    @property
    def name(self) -> str:
        """The short phrase for the reference page."""
        if self.kind is not None:
            return self.kind.name
        if self.choices:
            return ", ".join(f"`{choice}`" for choice in self.choices)
        if self.is_switch:
            return "`true` or `false`"
        if self.list_of is not None:
            return f"list of {self.list_of.name}"
        return f"map to {self.map_of.name}" if self.map_of is not None else "section"


def shape_of(annotation: Any, metadata: tuple[Any, ...] = ()) -> Shape:
    """Return the shape that an annotation of our models declares."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return shape_of(arguments[0], (*metadata, *arguments[1:]))
    kind = next((each for each in metadata if isinstance(each, Kind)), None)
    if kind is not None:
        return Shape(kind=kind)
    if origin in {Union, types.UnionType}:
        return shape_of(next(each for each in arguments if each is not type(None)))
    if origin is Literal:
        return Shape(choices=arguments)
    if origin is tuple:
        return Shape(list_of=shape_of(arguments[0]))
    if origin is dict:
        return Shape(map_of=shape_of(arguments[1]))
    return Shape(is_switch=True) if annotation is bool else Shape(section=annotation)


def keys_of(section: type[Section]) -> Iterator[tuple[str, FieldInfo, Shape]]:
    """Yield every key of a section as the file writes it, with its field and shape, in order of declaration."""
    for name, field in section.model_fields.items():
        yield field.alias or name, field, shape_of(field.annotation, tuple(field.metadata))


def sections_of(section: type[Section], path: str = "") -> Iterator[tuple[str, type[Section]]]:
    """Yield `section` and every section within it, each with its place: `hosts.NAME`, `monitoring.notify[]`."""
    yield path, section
    for key, _, shape in keys_of(section):
        suffix = "[]" if shape.list_of is not None else ".NAME" if shape.map_of is not None else ""
        if shape.inner_section is not None:
            yield from sections_of(shape.inner_section, f"{path}.{key}{suffix}".removeprefix("."))


def shape_at(top: type[Section], path: Path) -> Shape | None:
    """Return what may stand at `path`, or None when nothing may."""
    shape: Shape | None = Shape(section=top)
    for part in path:
        if shape is None:
            return None
        if shape.section is not None:
            shape = next((found for key, _, found in keys_of(shape.section) if key == part), None)
        else:
            shape = shape.list_of if isinstance(part, int) else shape.map_of
    return shape


def alternatives(names: tuple[str, ...]) -> str:
    """Return names as a person lists them: `a`, `b` or `c`."""
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
