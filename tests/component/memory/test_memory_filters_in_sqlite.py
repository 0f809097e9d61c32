"""SQLite means by a condition what the filter language says that it means."""

import os
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import apsw
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragrid.services.memory.filters.evaluate import meets
from ragrid.services.memory.filters.parse import FilterNode, parse_condition
from ragrid.services.memory.sqlite.where import plain_document, where

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


@pytest.fixture(scope="module")
def database() -> apsw.Connection:
    one = apsw.Connection(":memory:")
    one.create_scalar_function("plain_document", plain_document, 1)
    return one


@settings(max_examples=EXAMPLES, deadline=None)
@given(document=DOCUMENTS, node=NODES)
def test_sqlite_and_the_evaluator_agree(database: apsw.Connection, document: dict[str, Any], node: Any) -> None:
    condition = parse_condition(msgspec.convert(node, FilterNode), "/filter")
    doc = msgspec.json.encode(document)
    sql, parameters = where(condition, row="m", has_columns=False)
    statement = f"SELECT ({sql}) IS TRUE FROM (SELECT ? AS doc) AS m"  # noqa: S608 - the words of the compiler under test
    rows = database.execute(statement, (*parameters, doc)).fetchall()
    assert bool(rows[0][0]) == meets(msgspec.json.decode(doc), condition), (sql, parameters)
