"""A refusal of a value names those that there are to choose from."""

from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from ragrid.web.body import decode_json
from ragrid.web.problem import Problem

Colour = Literal["red", "blue"]


class Cat(msgspec.Struct, tag="cat", tag_field="kind"):
    colour: Colour | None = None


class Dog(msgspec.Struct, tag="dog", tag_field="kind"):
    size: Literal["big"]


class Shop(msgspec.Struct, rename={"within": "in"}):
    colours: Annotated[list[Colour], Meta(max_length=3)] = []
    by_name: dict[str, tuple[Colour, ...]] = {}
    pets: tuple[Cat | Dog, ...] = ()
    within: "Shop | None" = None
    number: int = 0


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        ('{"colours": ["red", "x"]}', "/colours/1", "invalid enum value 'x', wanted one of blue, red"),
        ('{"pets": [{"kind": "cat", "colour": 7}]}', "/pets/0/colour", "expected `str | null`, got `int`"),
        ('{"pets": [{"kind": "cow"}]}', "/pets/0/kind", "invalid value 'cow', wanted one of cat, dog"),
        ('{"in": {"in": {"colours": [""]}}}', "/in/in/colours/0", "invalid enum value '', wanted one of blue, red"),
        ('{"number": "x"}', "/number", "expected `int`, got `str`"),
    ],
)  # fmt: skip
def test_what_may_stand_there_is_told(body: str, pointer: str, detail: str) -> None:
    with pytest.raises(Problem) as caught:
        decode_json(body.encode(), Shop)
    errors: Any = caught.value.errors
    assert list(errors) == [{"pointer": pointer, "detail": detail}]
