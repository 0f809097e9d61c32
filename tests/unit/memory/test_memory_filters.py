"""The filter language: what is refused and how, and what it means; that SQLite means the same: tests/component."""

from typing import Any

import msgspec
import pytest

from ragrid.services.memory.filters.evaluate import meets
from ragrid.services.memory.filters.model import Every, Some, Term
from ragrid.services.memory.filters.parse import (
    CHOICES,
    DEPTH,
    TERMS,
    VALUE_CHARACTERS,
    FilterError,
    FilterNode,
    parse_condition,
)
from ragrid.services.memory.sqlite.where import where


def parsed(node: Any) -> Any:
    return parse_condition(msgspec.convert(node, FilterNode), "/filter")


def faults(node: Any) -> dict[str, str]:
    with pytest.raises(FilterError) as refusal:
        parsed(node)
    return dict(refusal.value.faults)


def leaf(field: str, op: str, value: Any) -> dict[str, Any]:
    return {"field": field, "op": op, "value": value}


@pytest.mark.parametrize(
    ("node", "holds"),
    [
        (leaf("metadata.plan", "eq", "pro"), True),
        (leaf("metadata.plan", "ne", "pro"), False),
        (leaf("metadata.nothing", "ne", "pro"), True),  # absent: it is not "pro"
        (leaf("metadata.count", "eq", 3.0), True),
        (leaf("metadata.count", "eq", "3"), False),  # a number is never a string
        (leaf("metadata.count", "gt", "2"), False),
        (leaf("metadata.on", "eq", 1), False),  # nor is true a number
        (leaf("metadata.null", "exists", False), True),
        (leaf("metadata.with.dots", "eq", "d"), True),
        (leaf("/metadata/with.dots", "eq", "d"), True),
        (leaf("data.a.b", "in", [1, 2]), True),
        (leaf("data.list", "contains", 2), True),
        (leaf("data.list", "contains", "2"), False),
        (leaf("content", "contains", "tea"), True),
        (leaf("content", "prefix", "Tea"), False),  # case tells
        (leaf("tags", "contains", "x"), True),
        (leaf("source.kind", "eq", "message"), True),
        (leaf("valid_from", "lt", "2026-11-24T10:00:00.000001+02:00"), True),
        (leaf("valid_from", "lt", "2026-11-24T10:00:00+02:00"), False),
        ({"and": [leaf("user_id", "eq", "u"), leaf("tags", "contains", "no")]}, False),
        ({"or": [leaf("user_id", "eq", "u"), leaf("tags", "contains", "no")]}, True),
    ],
)
def test_what_a_comparison_means(node: Any, holds: bool) -> None:
    document = {
        "content": "green tea",
        "user_id": "u",
        "tags": ["x"],
        "source": {"kind": "message", "ref": None},
        "valid_from": "2026-11-24T08:00:00Z",
        "metadata": {"plan": "pro", "count": 3, "on": True, "null": None, "with.dots": "d"},
        "data": {"a": {"b": 2}, "list": [1, 2]},
    }
    assert meets(document, parsed(node)) is holds


@pytest.mark.parametrize(
    ("node", "pointer", "says"),
    [
        ({}, "/filter", "wanted one of `and`, `or`, and a comparison"),
        ({"and": [leaf("type", "eq", "x")], "field": "type"}, "/filter", "wanted one of"),
        ({"field": "type"}, "/filter/op", "missing"),
        (leaf("metdata.plan", "eq", 1), "/filter/field", "did you mean 'metadata.NAME'?"),
        (leaf("metadata", "eq", 1), "/filter/field", "unknown field 'metadata'"),
        (leaf("/metadata/a/b", "eq", 1), "/filter/field", "unknown field"),
        (leaf("tags", "eq", "x"), "/filter/op", "got 'eq', wanted one of contains, exists for 'tags'"),
        (leaf("pinned", "gt", True), "/filter/op", "wanted one of eq, ne, in, exists"),
        (leaf("pinned", "eq", 1), "/filter/value", "got 1, wanted true or false"),
        (leaf("importance", "gt", "high"), "/filter/value", "wanted a number"),
        (leaf("metadata.x", "gt", True), "/filter/value", "wanted a string or a number beside `gt`"),
        (leaf("metadata.x", "eq", None), "/filter/value", "got null"),
        (leaf("metadata.x", "eq", 2**63), "/filter/value", "2^63"),
        (leaf("metadata.x", "eq", "a\0"), "/filter/value", "NUL"),
        (leaf("metadata.x", "exists", "yes"), "/filter/value", "wanted true or false beside `exists`"),
        (leaf("metadata.x", "in", []), "/filter/value", f"got 0 values, wanted a list of 1 to {CHOICES}"),
        (leaf("metadata.x", "in", [1] * 101), "/filter/value", "got 101 values"),
        (leaf("content", "contains", "x" * 1025), "/filter/value", f"wanted at most {VALUE_CHARACTERS}"),
        (leaf("created_at", "gt", "2026-11-24T08:00:00"), "/filter/value", "a time with a zone"),
        ({"and": [leaf("type", "eq", "x")] * 2 + [{"or": [{}]}]}, "/filter/and/2/or/0", "wanted one of"),
        (
            {"and": [{"or": [leaf("type", "eq", "x")] * 33}] * 2},
            "/filter",
            f"got 66 comparisons, wanted at most {TERMS}",
        ),
    ],
)
def test_what_means_nothing_is_refused_where_it_stands(node: Any, pointer: str, says: str) -> None:
    found = faults(node)
    assert pointer in found
    assert says in found[pointer]


def test_all_faults_are_named_at_once() -> None:
    assert set(faults({"and": [leaf("nope", "eq", 1), leaf("pinned", "eq", "x"), leaf("type", "eq", "ok")]})) == {
        "/filter/and/0/field",
        "/filter/and/1/value",
    }


def test_nesting_has_an_exact_limit() -> None:
    node: Any = leaf("type", "eq", "x")
    for _ in range(DEPTH):
        node = {"and": [node]}
    assert isinstance(parsed(node), Every)
    assert faults({"or": [node]}) == {
        "/filter/or/0" + "/and/0" * (DEPTH - 1): f"`and` and `or` are nested more than {DEPTH} deep"
    }


def test_of_nothing_every_holds_and_some_does_not() -> None:
    assert meets({}, Every(()))
    assert not meets({}, Some(()))
    assert where(Every(())) == ("TRUE", [])
    assert where(Some(())) == ("FALSE", [])


def test_members_with_a_column_use_it() -> None:
    sql, parameters = where(Term(("user_id",), "text", "eq", "u"))
    assert (sql, parameters) == ("(m.user_id = ?)", ["u"])
