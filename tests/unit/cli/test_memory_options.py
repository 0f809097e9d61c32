"""`ragrid memory put`: what is read from its options, and what is refused with its reason."""

from pathlib import Path
from typing import Any

import pytest

from ragrid.cli.memory_options import content_of, criteria_of, members_of
from ragrid.errors import UsageError


def test_only_what_was_given_is_set() -> None:
    assert members_of({"type": None, "tags": (), "metadata": (), "data": None, "ttl": None, "pinned": False}) == {}
    assert members_of(
        {"type": "episodic", "tags": ("a",), "data": '{"a": [1]}', "ttl": "2m", "pinned": True, "importance": 0.0}
    ) == {
        "type": "episodic",
        "tags": ["a"],
        "data": {"a": [1]},
        "ttl_seconds": 120,
        "pinned": True,
        "importance": 0.0,
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("cups=2", 2),
        ("cups=2.5", 2.5),
        ("hot=true", True),
        ("hot=null", None),
        ("kind=green", "green"),
        ('kind="2"', "2"),
        ("kind=", ""),
        ("kind=a=b", "a=b"),
        ("kind=NaN", "NaN"),
        ("kind=[1]", "[1]"),
    ],
)
def test_metadata_is_a_number_a_boolean_or_text(text: str, value: Any) -> None:
    assert list(members_of({"metadata": (text,)})["metadata"].values()) == [value]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"metadata": ("cups",)}, "wanted NAME=VALUE"),
        ({"metadata": ("=2",)}, "wanted NAME=VALUE"),
        ({"data": "{"}, "wanted a JSON object"),
        ({"data": "[1]"}, "wanted a JSON object"),
        ({"ttl": "soon"}, "write a number and its unit"),
        ({"ttl": "1500ms"}, "whole seconds"),
    ],
)
def test_what_cannot_be_read_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        members_of(given)


def test_criteria() -> None:
    assert criteria_of(None, None, None, None, ()) == {}
    assert criteria_of("working", "ada", None, None, ("a",)) == {"type": "working", "user_id": "ada", "tags": ("a",)}


def test_content_comes_from_one_place(tmp_path: Path) -> None:
    file = tmp_path / "plan.md"
    file.write_text("ü")
    assert (content_of("x", None), content_of(None, file)) == ("x", "ü")
    for argument, path in ((None, None), ("x", file)):
        with pytest.raises(UsageError, match="one of them"):
            content_of(argument, path)
    file.write_bytes(b"ab\xff")
    with pytest.raises(UsageError, match="byte 2 is not UTF-8"):
        content_of(None, file)
    with pytest.raises(UsageError, match="No such file"):
        content_of(None, tmp_path / "none")
