"""A condition as SQL over a JSON document, for SQLite. Pure: every word is ours, what a caller sent is a parameter."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from ragrid.services.memory.filters.model import Condition, Every, Some, Term
from ragrid.services.memory.filters.plain import plain_of
from ragrid.services.memory.model import microseconds

_encode = msgspec.json.Encoder().encode

_COMPARE = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}

#: Members that have a column of their own in the table `memory`: text, numbers, and times in microseconds.
COLUMNS: Mapping[tuple[str, ...], str] = {
    ("id",): "id",
    ("type",): "type",
    ("user_id",): "user_id",
    ("agent_id",): "agent_id",
    ("session_id",): "session_id",
    ("created_by",): "created_by",
    ("version",): "version",
    ("seq",): "seq",
    ("created_at",): "created_us",
}

# A rendered time, such as 2027-01-15T08:00:00.500000+02:00, as microseconds: SQLite's own functions round to
# milliseconds and know no offset above 14 hours.
_ZONE = "substr({0}, CASE substr({0}, 20, 1) WHEN '.' THEN 27 ELSE 20 END)"
_OFFSET_S = (
    f"(CASE substr({_ZONE}, 1, 1) WHEN '-' THEN -1 ELSE 1 END"
    f" * (CAST(substr({_ZONE}, 2, 2) AS INTEGER) * 3600 + CAST(substr({_ZONE}, 5, 2) AS INTEGER) * 60))"
)
_TIME_US = (
    f"((unixepoch(substr({{0}}, 1, 19)) - {_OFFSET_S}) * 1000000"
    " + CASE substr({0}, 20, 1) WHEN '.' THEN CAST(substr({0}, 21, 6) AS INTEGER) ELSE 0 END)"
)

# To SQLite a name ends at a NUL, so `"plan\u0000"` would be `plan`: another member, and a hole in a wall.
_ESCAPED_NUL = rb"\u0000".hex()
_DOCUMENT = f"CASE WHEN instr({{0}}, X'{_ESCAPED_NUL}') THEN plain_document({{0}}) ELSE CAST({{0}} AS TEXT) END"

Sql = tuple[str, list[Any]]


def plain_document(*arguments: Any) -> str:
    """Return a stored document as SQLite can read it; readers know it as a function of SQL."""
    doc: bytes = arguments[0]
    return plain_of(doc) or doc.decode()


def where(condition: Condition, *, row: str = "m", has_columns: bool = True) -> Sql:
    """Return the expression that is true exactly for the rows of `row` that meet `condition`, and its parameters.

    With `has_columns`, `row` is the table `memory`; without, anything with a document in `doc`.
    """
    match condition:
        case Every(of):
            return _joined(" AND ", [where(one, row=row, has_columns=has_columns) for one in of], empty="TRUE")
        case Some(of):
            return _joined(" OR ", [where(one, row=row, has_columns=has_columns) for one in of], empty="FALSE")
        case Term():
            return _term(condition, row, has_columns=has_columns)


def _joined(word: str, parts: list[Sql], *, empty: str) -> Sql:
    if not parts:
        return empty, []
    return f"({word.join(sql for sql, _ in parts)})", [value for _, values in parts for value in values]


def _term(term: Term, row: str, *, has_columns: bool) -> Sql:
    if term.op == "ne":
        sql, parameters = _term(msgspec.structs.replace(term, op="eq"), row, has_columns=has_columns)
        return f"({sql} IS NOT TRUE)", parameters
    if has_columns and term.kind == "texts" and term.op == "contains":
        carries = f"SELECT 1 FROM memory_tag AS w WHERE w.position = {row}.position AND w.tag = ?"  # noqa: S608 - only our own words
        return f"EXISTS ({carries} AND w.namespace = {row}.namespace)", [term.value]
    column = COLUMNS.get(term.path) if has_columns else None
    if column is not None:
        return _column(term, f"{row}.{column}")
    return _member(term, _DOCUMENT.format(f"{row}.doc"))


def _column(term: Term, column: str) -> Sql:
    """Columns hold one type only, and NULL where the member has no value."""
    if term.op == "exists":
        return f"({column} IS {'NOT ' if term.value else ''}NULL)", []
    if term.kind == "time":
        return f"({column} {_COMPARE[term.op]} ?)", [_us(term)]
    return _compared(term, column)


def _member(term: Term, document: str) -> Sql:
    path = "$" + "".join(f".{_encode(step).decode()}" for step in term.path)
    kind, value = f"json_type({document}, ?)", f"json_extract({document}, ?)"
    if term.op == "exists":
        return f"(coalesce({kind}, 'null') {'<>' if term.value else '='} 'null')", [path]
    if term.kind == "time":
        found = f"(SELECT {_TIME_US.format('t.x')} FROM (SELECT {value} AS x) AS t)"  # noqa: S608 - only our own words
        return f"({found} {_COMPARE[term.op]} ?)", [path, _us(term)]
    if term.op == "contains":
        return _contains(term, document, path)
    if term.op == "in":
        choices: tuple[Any, ...] = term.value if isinstance(term.value, tuple) else ()
        same = [_member(msgspec.structs.replace(term, op="eq", value=one), document) for one in choices]
        return _joined(" OR ", same, empty="FALSE")
    if isinstance(term.value, bool):
        return f"({kind} = ?)", [path, "true" if term.value else "false"]
    sql, parameters = _compared(term, value)
    return f"({kind} {_types(term.value)} AND {sql})", [path, path, *parameters]


def _compared(term: Term, found: str) -> Sql:
    if term.op == "in":
        choices: tuple[Any, ...] = term.value if isinstance(term.value, tuple) else ()
        return f"({found} IN ({', '.join('?' * len(choices))}))", list(choices)
    if term.op == "prefix":
        return f"(substr({found}, 1, {len(str(term.value))}) = ?)", [term.value]
    if term.op == "contains":
        return f"(instr({found}, ?) > 0)", [term.value]
    return f"({found} {_COMPARE[term.op]} ?)", [term.value]


def _contains(term: Term, document: str, path: str) -> Sql:
    """A list contains an equal member, a text contains a text."""
    parameters: list[Any]
    if isinstance(term.value, bool):
        same, parameters = "e.type = ?", ["true" if term.value else "false"]
    else:
        same, parameters = f"e.type {_types(term.value)} AND e.value = ?", [term.value]
    kind = f"json_type({document}, ?)"
    inside = f"EXISTS (SELECT 1 FROM json_each({document}, ?) AS e WHERE {same})"  # noqa: S608 - only our own words
    sql = f"({kind} = 'array' AND {inside})"
    every: list[Any] = [path, path, *parameters]
    if isinstance(term.value, str):
        sql = f"({sql} OR ({kind} = 'text' AND instr(json_extract({document}, ?), ?) > 0))"
        every += [path, path, term.value]
    return sql, every


def _us(term: Term) -> int:
    if not isinstance(term.value, datetime):
        raise AssertionError("the parser lets nothing but a time come here")
    return microseconds(term.value)


def _types(value: Any) -> str:
    return "= 'text'" if isinstance(value, str) else "IN ('integer', 'real')"
