"""YAML as a grid reads it: YAML 1.2's scalars, and the place of everything."""

import pytest

from ragrid.spec.document import parse_document, resolve
from ragrid.spec.faults import Mark


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"), ("yes", "yes"), ("no", "no"), ("off", "off"), ("y", "y"),
        ("true", True), ("False", False), ("tRue", "tRue"),
        ("", None), ("~", None), ("null", None), ("nULL", "nULL"),
        ("12", 12), ("-7", -7), ("010", 10), ("0o10", 8), ("0x1F", 31), ("1_000", "1_000"),
        ("9" * 18, int("9" * 18)), ("9" * 5000, "9" * 5000),
        ("02:30", "02:30"), ("12:30:00", "12:30:00"), ("2026-11-23", "2026-11-23"),
        ("7d", "7d"), ("80%", "80%"), ("1000/s", "1000/s"), ("10.0.0.1", "10.0.0.1"), ("10.5", 10.5), ("1e3", 1000.0),
        (".5", 0.5), (".inf", float("inf")), ("-.inf", float("-inf")), ("=", "="), ("<<", "<<"),
    ],
)  # fmt: skip
def test_plain_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


def test_quoted_scalars_are_text() -> None:
    assert parse_document("a: '1'\nb: \"true\"\nc: |\n  x\n").value == {"a": "1", "b": "true", "c": "x\n"}


def test_keys_are_always_text() -> None:
    assert parse_document("on: 1\n80: 2\nnull: 3\n").value == {"on": 1, "80": 2, "null": 3}


def test_everything_has_its_place() -> None:
    document = parse_document("a:\n  - x\n  - b: {c: 1}\n")
    assert document.value == {"a": ["x", {"b": {"c": 1}}]}
    assert document.values_at[("a", 0)] == Mark(2, 5)
    assert document.keys_at[("a", 1, "b")] == Mark(3, 5)
    assert document.values_at[("a", 1, "b", "c")] == Mark(3, 12)
    assert document.mark_of(("a", 1, "b", "missing")) == Mark(3, 8)


def test_columns_count_characters_not_bytes() -> None:
    assert parse_document("{é: 1, b: 2}").keys_at[("b",)] == Mark(1, 8)


def test_of_a_key_that_stands_twice_the_first_is_kept() -> None:
    document = parse_document("a: 1\nb: 2\na: 3\n")
    assert document.value == {"a": 1, "b": 2}
    assert [fault.mark for fault in document.faults] == [Mark(3, 1)]
