"""Pure parts of the memory service: merging, ids, cursors, words."""

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragrid.services.memory.cursor import CursorError, decode_cursor, encode_cursor
from ragrid.services.memory.deciding import merge
from ragrid.services.memory.ids import IdSource, uuid7
from ragrid.services.memory.words import WORD_LIMIT, words_of


# The table of RFC 7396, appendix A.
@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_keeps_to_the_table_of_its_rfc(target: Any, patch: Any, result: Any) -> None:
    assert merge(target, patch) == result


def test_ids_are_uuids_of_version_7_that_sort_by_time() -> None:
    times_us = [1_800_000_000_000_000 + step * 7 for step in range(1000)]
    source = IdSource()
    made = [source.new(at_us) for at_us in times_us]
    assert made == sorted(made)
    assert len({one[-16:] for one in made}) == len(made)
    assert {(uuid.UUID(one).version, uuid.UUID(one).variant) for one in made} == {(7, uuid.RFC_4122)}
    # The example of RFC 9562, appendix A.6, without its random part.
    assert uuid7(1_645_557_742_000_000, 0).startswith("017f22e2-79b0-7000-8000")


@given(position=st.integers(0, 2**63 - 1), text=st.text(max_size=40))
def test_cursors_come_back_and_nothing_else_is_one(position: int, text: str) -> None:
    walk = ("list", "acme", "default")
    assert decode_cursor(encode_cursor(position, walk), walk) == position
    with pytest.raises(CursorError):
        decode_cursor(text, walk)
    with pytest.raises(CursorError):
        decode_cursor(encode_cursor(position, walk), ("list", "evil", "default"))


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("What's O'Reilly's e-mail?", ("What", "s", "O", "Reilly", "e", "mail")),
        ("tea TEA Tea", ("tea",)),
        ("snake_case", ("snake", "case")),
        ("cafe\u0301", ("caf\u00e9",)),
        ("日本語 3.5", ("日本語", "3", "5")),
        ('"*()', ()),
    ],
)
def test_words(query: str, words: tuple[str, ...]) -> None:
    assert words_of(query) == words


def test_a_query_has_a_bounded_number_of_words() -> None:
    assert len(words_of(" ".join(str(number) for number in range(10_000)))) == WORD_LIMIT
