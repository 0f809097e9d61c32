"""The filter language: what is refused and how, what it means, and that SQLite means the same."""

import os
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import apsw
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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

#: The long run: RAGRID_FILTER_EXAMPLES=5000.
EXAMPLES = int(os.environ.get("RAGRID_FILTER_EXAMPLES", "100"))

NAMES = st.sampled_from(["plan", "a.b", 'q"uote', "back\\slash", "ä", "0", "", "new\nline", "x"])
WORDS = st.sampled_from(["", "a", "ab", "abc", "B", "é", "\U0001f600", "1", "true", "x\0y", "it's", "%_"])
NUMBERS = st.sampled_from([0, 1, -1, 1.0, 0.1, 1.5, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 2**70, 1e300, 5e-324])
SCALARS = WORDS | NUMBERS | st.booleans() | st.none()
DATA = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
ZONES = st.sampled_from([UTC, timezone(timedelta(hours=2)), timezone(-timedelta(hours=9, minutes=30))]) | st.just(
    timezone(timedelta(hours=23, minutes=59))
)
TIMES = st.builds(
    lambda base, us, zone: (base + timedelta(microseconds=us)).astimezone(zone),
    st.sampled_from([datetime(2026, 11, 24, 8, tzinfo=UTC), datetime(1, 1, 2, tzinfo=UTC)]),
    st.sampled_from([0, 1, 999_999, 500_000, 59_999_999, 60_000_000]),
    ZONES,
)
DOCUMENTS = st.fixed_dictionaries(
    {
        "content": WORDS,
        "user_id": st.sampled_from([None, "a", "ab"]),
        "tags": st.lists(st.sampled_from(["a", "ab", "B"]), unique=True, max_size=2),
        "importance": st.sampled_from([0.0, 0.1, 0.5, 1.0]),
        "pinned": st.booleans(),
        "source": st.none() | st.fixed_dictionaries({"kind": WORDS, "ref": st.none() | WORDS}),
        "valid_from": st.none() | TIMES,
        "metadata": st.dictionaries(NAMES, SCALARS, max_size=3),
        "data": st.dictionaries(NAMES, DATA, max_size=3),
    }
)
_FILTER_WORDS = WORDS.filter(lambda word: "\0" not in word)
_FILTER_NUMBERS = NUMBERS.filter(lambda number: -(2**63) <= number < 2**63)
_VALUES = _FILTER_WORDS | _FILTER_NUMBERS | st.booleans()
_ORDER = st.sampled_from(["gt", "gte", "lt", "lte"])


def _pointer(*steps: str) -> str:
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)


_OPEN = st.builds(lambda name: _pointer("metadata", name), NAMES) | st.builds(
    lambda names: _pointer("data", *names), st.lists(NAMES, min_size=1, max_size=3)
)
LEAVES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(dict, field=_OPEN, op=st.sampled_from(["eq", "ne", "contains"]), value=_VALUES),
    st.builds(dict, field=_OPEN, op=_ORDER, value=_FILTER_WORDS | _FILTER_NUMBERS),
    st.builds(dict, field=_OPEN, op=st.just("prefix"), value=_FILTER_WORDS),
    st.builds(dict, field=_OPEN, op=st.just("in"), value=st.lists(_VALUES, min_size=1, max_size=3)),
    st.builds(
        dict,
        field=st.sampled_from(["content", "user_id", "source.kind", "source.ref"]),
        op=st.sampled_from(["eq", "ne", "gt", "gte", "lt", "lte", "prefix", "contains"]),
        value=_FILTER_WORDS,
    ),
    st.builds(dict, field=st.just("tags"), op=st.just("contains"), value=st.sampled_from(["a", "ab", "c"])),
    st.builds(
        dict,
        field=st.just("importance"),
        op=st.sampled_from(["eq", "ne", "gt", "lte"]),
        value=st.sampled_from([0.1, 0.5, 1]),
    ),
    st.builds(dict, field=st.just("pinned"), op=st.sampled_from(["eq", "ne"]), value=st.booleans()),
    st.builds(
        dict,
        field=st.just("valid_from"),
        op=st.sampled_from(["eq", "ne", "gt", "gte", "lt", "lte"]),
        value=TIMES.map(lambda at: at.isoformat()),
    ),
    st.builds(
        dict,
        field=_OPEN
        | st.sampled_from(["user_id", "source", "valid_from", "tags"]).filter(lambda name: name != "source"),
        op=st.just("exists"),
        value=st.booleans(),
    ),
)
NODES = st.recursive(
    LEAVES,
    lambda inner: st.builds(
        lambda name, nodes: {name: nodes}, st.sampled_from(["and", "or"]), st.lists(inner, min_size=1, max_size=3)
    ),
    max_leaves=4,
)


def parsed(node: Any) -> Any:
    return parse_condition(msgspec.convert(node, FilterNode), "/filter")


def faults(node: Any) -> dict[str, str]:
    with pytest.raises(FilterError) as refusal:
        parsed(node)
    return dict(refusal.value.faults)


def leaf(field: str, op: str, value: Any) -> dict[str, Any]:
    return {"field": field, "op": op, "value": value}


@pytest.fixture(scope="module")
def database() -> apsw.Connection:
    return apsw.Connection(":memory:")


@settings(max_examples=EXAMPLES, deadline=None)
@given(document=DOCUMENTS, node=NODES)
def test_sqlite_and_the_evaluator_agree(database: apsw.Connection, document: dict[str, Any], node: Any) -> None:
    condition = parsed(node)
    doc = msgspec.json.encode(document)
    sql, parameters = where(condition, row="m", has_columns=False)
    statement = f"SELECT ({sql}) IS TRUE FROM (SELECT ? AS doc) AS m"  # noqa: S608 - the words of the compiler under test
    rows = database.execute(statement, (*parameters, doc)).fetchall()
    assert bool(rows[0][0]) == meets(msgspec.json.decode(doc), condition), (sql, parameters)


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


def test_of_nothing_every_holds_and_some_does_not(database: apsw.Connection) -> None:
    assert meets({}, Every(()))
    assert not meets({}, Some(()))
    assert where(Every(())) == ("TRUE", [])
    assert where(Some(())) == ("FALSE", [])


def test_members_with_a_column_use_it() -> None:
    sql, parameters = where(Term(("user_id",), "text", "eq", "u"))
    assert (sql, parameters) == ("(m.user_id = ?)", ["u"])
