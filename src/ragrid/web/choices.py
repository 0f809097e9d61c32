"""Which values a member may have, looked up in the type that a body is decoded into: refusals name them. Pure."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from msgspec import inspect

#: So many are told; a longer list helps nobody.
CHOICES_SHOWN = 20

_NOT_ONE = ("invalid enum value", "invalid value")


def with_choices(what: str, pointer: str, kind: Any) -> str:
    """Return what is wrong with a member of a `kind`, and what it may be, where that is one of a few values."""
    if not what.startswith(_NOT_ONE):
        return what
    steps = [one.replace("~1", "/").replace("~0", "~") for one in pointer.split("/")[1:]]
    choices = sorted({str(one) for one in _choices(kind, steps)})
    return f"{what}, wanted one of {', '.join(choices[:CHOICES_SHOWN])}" if choices else what


@lru_cache(maxsize=256)
def _described(kind: Any) -> inspect.Type:
    return inspect.type_info(kind)


def _choices(kind: Any, steps: list[str]) -> Iterator[Any]:
    found = [_described(kind)]
    for step in steps:
        found = [inner for one in found for inner in _inside(one, step)]
    for one in found:
        yield from _values(one)


def _inside(kind: inspect.Type, step: str) -> Iterator[inspect.Type]:
    """Yield the types that a member or an item may have."""
    match kind:
        case inspect.Metadata():
            yield from _inside(kind.type, step)
        case inspect.UnionType():
            for one in kind.types:
                yield from _inside(one, step)
        case inspect.StructType():
            if step == kind.tag_field:
                yield inspect.LiteralType((kind.tag,))
            yield from (field.type for field in kind.fields if field.encode_name == step)
        case inspect.ListType() | inspect.VarTupleType():
            yield kind.item_type
        case inspect.DictType():
            yield kind.value_type


def _values(kind: inspect.Type) -> Iterator[Any]:
    match kind:
        case inspect.Metadata():
            yield from _values(kind.type)
        case inspect.UnionType():
            for one in kind.types:
                yield from _values(one)
        case inspect.LiteralType():
            yield from kind.values
