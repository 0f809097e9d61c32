"""Whole numbers that are written with a fraction of nothing, or as a power of ten."""

from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from ragrid.web.body import decode_json
from ragrid.web.problem import Problem
from ragrid.web.whole_numbers import REPAIRS, convert_whole, decode_whole, whole


class Inner(msgspec.Struct, kw_only=True):
    level: Annotated[int, Meta(ge=1, le=100)]


class Body(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    count: Annotated[int, Meta(ge=0, le=1000)] | None = None
    versions: int | tuple[int, ...] | Literal["*"] | None = None
    many: tuple[Inner, ...] = ()
    share: float = 0.0
    free: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (b'{"count":5.0}', Body(count=5)),
        (b'{"count":1e2}', Body(count=100)),
        (b'{"count":-0.0}', Body(count=0)),
        (b'{"versions":3.0}', Body(versions=3)),
        (b'{"versions":[1,2.0,3e0]}', Body(versions=(1, 2, 3))),
        (b'{"many":[{"level":1},{"level":2.0}],"count":7.0}', Body(many=(Inner(level=1), Inner(level=2)), count=7)),
    ],
)
def test_integers_may_be_written_as_json_writes_numbers(text: bytes, wanted: Body) -> None:
    assert decode_json(text, Body) == wanted
    assert convert_whole(msgspec.json.decode(text), Body) == wanted


def test_what_is_free_keeps_the_number_that_was_sent() -> None:
    found = decode_json(b'{"count":5.0,"share":1,"free":{"a":5.0,"b":[1e2,7],"c":12345678901234567890123}}', Body)
    assert msgspec.json.encode(found.free) == b'{"a":5.0,"b":[100.0,7],"c":12345678901234567890123}'
    assert isinstance(found.share, float)


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        (b'{"count":5.5}', "/count"),
        (b'{"count":5.0,"many":[{"level":2.5}]}', "/many/0/level"),
        (b'{"count":1001.0}', "/count"),
        (b'{"count":1e300}', "/count"),
        (b'{"count":"5.0"}', "/count"),
        (b'{"count":5.0,"counts":1}', "/counts"),
        (b'{"versions":[1.0,2.5]}', "/versions/1"),
    ],
)
def test_anything_else_is_refused_with_its_pointer(text: bytes, pointer: str) -> None:
    with pytest.raises(Problem) as refused:
        decode_json(text, Body)
    assert refused.value.status == 422
    assert refused.value.document()["errors"][0]["pointer"] == pointer


def test_a_body_that_breaks_behind_a_fault_is_refused_for_the_fault() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"count"):
        decode_whole(msgspec.json.Decoder(Body).decode, b'{"count":5.0,"free":{"a":1e999}}')


def test_a_body_is_not_looked_at_for_ever() -> None:
    many = {"many": [{"level": 1.0}] * (REPAIRS + 1)}
    with pytest.raises(msgspec.ValidationError):
        convert_whole(many, Body)
    assert len(convert_whole({"many": many["many"][1:]}, Body).many) == REPAIRS


def test_the_value_that_was_given_is_left_as_it_is() -> None:
    given_value = {"many": [{"level": 2.0}]}
    convert_whole(given_value, Body)
    assert isinstance(given_value["many"][0]["level"], float)


@given(st.floats() | st.integers() | st.booleans() | st.text() | st.none())
def test_only_floats_without_a_fraction_become_integers(value: Any) -> None:
    found = whole(value)
    assert found is value or (type(value) is float and type(found) is int and found == value)
