"""A condition as SQL over a JSON document, for PostgreSQL. Pure: every word is ours, what a caller sent is a parameter.

`jsonb` cannot hold NUL. A document with one is kept once more with U+FFFF in its place, so those two are one character
to a filter; a filter itself never holds NUL.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from ragrid.services.memory.filters.model import Condition, Every, Some, Term
from ragrid.services.memory.model import microseconds

_encode = msgspec.json.Encoder().encode

#: What a statement with a condition joins: `j.doc`, parsed once for each row (`OFFSET 0` keeps it one step).
DOCUMENT = " CROSS JOIN LATERAL (SELECT coalesce(m.plain, convert_from(m.doc, 'UTF8')::jsonb) AS doc OFFSET 0) AS j"

_COMPARE = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
#: Members with a column of their own, and its type.
_COLUMNS: Mapping[tuple[str, ...], tuple[str, str]] = {
    ("id",): ("id", "text"),
    ("type",): ("type", "text"),
    ("created_by",): ("created_by", "text"),
    ("version",): ("version", "numeric"),
    ("seq",): ("seq", "numeric"),
}
#: Those that are bytes, and have an index.
_RAW_COLUMNS = ("user_id", "agent_id", "session_id")

# A rendered time as microseconds: the server's own type knows no offset above 15 hours.
_TIME_US = (
    r"(extract(epoch FROM regexp_replace({0}, '(Z|[+-]\d\d:\d\d)$', '')::timestamp"
    r" - coalesce(substring({0} FROM '[+-]\d\d:\d\d$'), '00:00')::interval) * 1000000)"
)


def where(condition: Condition, parameters: list[Any]) -> str:
    """Return the expression that is true exactly for the rows `m`, `j` that meet `condition`; adds its parameters."""
    match condition:
        case Every(of):
            return _joined(" AND ", [where(one, parameters) for one in of], empty="TRUE")
        case Some(of):
            return _joined(" OR ", [where(one, parameters) for one in of], empty="FALSE")
        case Term():
            return _term(condition, parameters)


def _joined(word: str, parts: list[str], *, empty: str) -> str:
    return f"({word.join(parts)})" if parts else empty


def _term(term: Term, parameters: list[Any]) -> str:
    if term.op == "ne":
        same = _term(msgspec.structs.replace(term, op="eq"), parameters)
        return f"({same} IS NOT TRUE)"
    if term.op == "in":
        choices = term.value if isinstance(term.value, tuple) else ()
        same_as = [_term(msgspec.structs.replace(term, op="eq", value=one), parameters) for one in choices]
        return _joined(" OR ", same_as, empty="FALSE")
    if term.op == "eq" and term.path[0] in _RAW_COLUMNS:
        return f"(m.{term.path[0]} = {_parameter(parameters, str(term.value).encode(), 'bytea')})"
    if term.path == ("created_at",) and isinstance(term.value, datetime):
        return f"(m.created_us {_COMPARE[term.op]} {_parameter(parameters, microseconds(term.value), 'bigint')})"
    column, kind = _COLUMNS.get(term.path, (None, ""))
    if column is not None and term.op != "exists":
        return _compared(term, f"m.{column}", kind, parameters)
    return _member(term, parameters)


def _member(term: Term, parameters: list[Any]) -> str:
    steps = "".join(f" -> {_parameter(parameters, step, 'text')}" for step in term.path)
    value = f"(j.doc{steps})"
    if term.op == "exists":
        return f"(coalesce(jsonb_typeof({value}), 'null') {'<>' if term.value else '='} 'null')"
    text = f"({value} #>> '{{}}')"
    if isinstance(term.value, datetime):
        found = _TIME_US.format(text)
        return f"({found} {_COMPARE[term.op]} {_parameter(parameters, microseconds(term.value), 'bigint')})"
    if term.op == "contains":
        return _contains(term, value, text, parameters)
    if isinstance(term.value, bool):
        return f"({value} = '{'true' if term.value else 'false'}'::jsonb)"
    if isinstance(term.value, str):
        return _guarded(value, "string", _compared(term, text, "text", parameters))
    return _guarded(value, "number", _compared(term, f"({text})", "numeric", parameters))


def _guarded(value: str, kind: str, comparison: str) -> str:
    """Values of different types are never compared, and what is not a number is never read as one."""
    return f"(CASE WHEN jsonb_typeof({value}) = '{kind}' THEN {comparison} ELSE FALSE END)"


def _compared(term: Term, found: str, kind: str, parameters: list[Any]) -> str:
    if kind == "numeric":
        return f"({found}::numeric {_COMPARE[term.op]} {_parameter(parameters, repr(term.value), 'text')}::numeric)"
    wanted = _parameter(parameters, term.value, "text")
    if term.op == "prefix":
        return f"starts_with({found}, {wanted})"
    if term.op == "contains":
        return f"(strpos({found}, {wanted}) > 0)"
    return f'({found} COLLATE "C" {_COMPARE[term.op]} {wanted} COLLATE "C")'


def _contains(term: Term, value: str, text: str, parameters: list[Any]) -> str:
    """A list contains an equal member, a text contains a text."""
    wanted = _parameter(parameters, _encode(term.value).decode(), "jsonb")
    members = f"CASE WHEN jsonb_typeof({value}) = 'array' THEN {value} ELSE '[]'::jsonb END"
    inside = f"EXISTS (SELECT FROM jsonb_array_elements({members}) AS e (one) WHERE e.one = {wanted})"
    if not isinstance(term.value, str):
        return inside
    part = _guarded(value, "string", f"strpos({text}, {_parameter(parameters, term.value, 'text')}) > 0")
    return f"({inside} OR {part})"


def _parameter(parameters: list[Any], value: object, kind: str) -> str:
    parameters.append(value)
    return f"${len(parameters)}::{kind}"
