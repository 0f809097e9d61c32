"""Whether a memory's document meets a condition: the plainest reading of the filter language. Pure."""

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from operator import ge, gt, le, lt
from typing import Any

from ragrid.services.memory.filters.model import Condition, Every, Some, Term

_ABSENT = None
#: Wider integers are floating-point numbers to every store.
_INTEGER = 2**63

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {"gt": gt, "gte": ge, "lt": lt, "lte": le}


def meets(document: Mapping[str, Any], condition: Condition) -> bool:
    """Tell whether a decoded document meets `condition`; its times are strings, as they are stored."""
    match condition:
        case Every(of):
            return all(meets(document, one) for one in of)
        case Some(of):
            return any(meets(document, one) for one in of)
        case Term():
            return _term(_at(document, condition.path), condition)


def _at(document: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = document
    for step in path:
        if not isinstance(value, dict):
            return _ABSENT
        value = value.get(step, _ABSENT)
    return value


def _term(found: Any, term: Term) -> bool:
    wanted = term.value
    if term.op == "exists":
        return (found is not _ABSENT) == wanted
    if term.kind == "time" and found is not _ABSENT:
        found = datetime.fromisoformat(found)
    match term.op:
        case "eq":
            return _equal(found, wanted)
        case "ne":
            return not _equal(found, wanted)
        case "in":
            return isinstance(wanted, tuple) and any(_equal(found, one) for one in wanted)
        case "prefix":
            return isinstance(found, str) and isinstance(wanted, str) and found.startswith(wanted)
        case "contains":
            return _contains(found, wanted)
        case _:
            comparable = _kind(found) == _kind(wanted)
            return comparable and _COMPARE[term.op](_narrow(found), wanted)


def _contains(found: Any, wanted: Any) -> bool:
    if isinstance(found, list):
        return any(_equal(one, wanted) for one in found)
    return isinstance(found, str) and isinstance(wanted, str) and wanted in found


def _equal(found: Any, wanted: Any) -> bool:
    return _kind(found) == _kind(wanted) and bool(_narrow(found) == wanted)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return type(value).__name__


def _narrow(value: Any) -> Any:
    if not isinstance(value, int) or -_INTEGER <= value < _INTEGER:
        return value
    try:
        return float(value)
    except OverflowError:  # hundreds of digits
        return math.inf if value > 0 else -math.inf
