"""What a caller looks for is words to SQLite, whatever stands in it."""

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragrid.services.memory.words import match_expression, words_of


@pytest.fixture(scope="module")
def index() -> apsw.Connection:
    database = apsw.Connection(":memory:")
    database.execute("CREATE VIRTUAL TABLE f USING fts5 (scope, content, tags, data)")
    database.execute("INSERT INTO f VALUES ('n1', 'a1 tea NEAR OR AND 1 a n2', 'n2 a', 'n2')")
    return database


@settings(max_examples=200)
@given(query=st.text(max_size=60) | st.text(alphabet="\"'*^-+():{}NEARORANDT a1\0\\", max_size=60))
def test_any_query_is_a_valid_expression_that_stays_in_its_scope(index: apsw.Connection, query: str) -> None:
    words = words_of(query)
    if words:
        assert index.execute("SELECT count(*) FROM f WHERE f MATCH ?", (match_expression(words, "n2"),)).get == 0
