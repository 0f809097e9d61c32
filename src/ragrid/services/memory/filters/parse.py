"""From what a caller wrote to a `Condition`. Pure; every fault is named with a JSON pointer, all of them at once."""

import difflib
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ragrid.errors import RagridError
from ragrid.services.memory.filters.model import (
    MEMBERS,
    OPEN_MEMBERS,
    OPS_OF,
    Condition,
    Every,
    Kind,
    Op,
    Some,
    Term,
    Value,
)

#: Comparisons in one filter.
TERMS = 64
#: How deep `and` and `or` may be nested, the outermost counted.
DEPTH = 8
#: Values of one `in`.
CHOICES = 100
VALUE_CHARACTERS = 1024
FIELD_CHARACTERS = 256
#: Numbers are 64 bits wide in every store.
_INTEGER = 2**63

_KIND_SAYS: dict[Kind, str] = {
    "text": "a string",
    "number": "a number",
    "boolean": "true or false",
    "time": 'a time with a zone, such as "2026-11-24T08:00:00Z"',
    "texts": "a string",
    "any": "a string, a number, true or false",
}

Fault = tuple[str, str]
Nodes = Annotated[tuple["FilterNode", ...], Meta(min_length=1, max_length=TERMS)]


class FilterError(RagridError):
    """A filter that means nothing; `faults` holds `(JSON pointer, what is wrong)`, all of them at once."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(f"{pointer or 'the filter'}: {detail}" for pointer, detail in faults))
        self.faults = tuple(faults)


class FilterNode(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"every": "and", "some": "or"}
):
    """Either `and`, or `or`, or one comparison: `field`, `op` and `value`."""

    every: Nodes | UnsetType = UNSET
    some: Nodes | UnsetType = UNSET
    field: Annotated[str, Meta(min_length=1, max_length=FIELD_CHARACTERS)] | UnsetType = UNSET
    op: Op | UnsetType = UNSET
    value: Any = UNSET


def parse_condition(node: FilterNode, pointer: str) -> Condition:
    """Return what `node` means; `pointer` is where it stands in the request. Raises FilterError with all faults."""
    terms = sum(1 for _ in _leaves(node))
    if terms > TERMS:
        raise FilterError([(pointer, f"got {terms} comparisons, wanted at most {TERMS}")])
    faults: list[Fault] = []
    condition = _node(node, pointer, faults, depth=1)
    if faults or condition is None:
        raise FilterError(faults)
    return condition


def _leaves(node: FilterNode) -> Iterator[FilterNode]:
    waiting = [node]
    while waiting:
        one = waiting.pop()
        inner = [*(one.every or ()), *(one.some or ())]
        if not inner:
            yield one
        waiting.extend(inner)


def _node(node: FilterNode, pointer: str, faults: list[Fault], *, depth: int) -> Condition | None:
    is_term = not node.field is node.op is node.value is UNSET
    if (node.every is not UNSET) + (node.some is not UNSET) + is_term != 1:
        faults.append((pointer, "wanted one of `and`, `or`, and a comparison of `field`, `op` and `value`"))
        return None
    if is_term:
        return _term(node, pointer, faults)
    name, nodes = ("and", node.every) if node.every else ("or", node.some or ())
    if depth > DEPTH:
        faults.append((pointer, f"`and` and `or` are nested more than {DEPTH} deep"))
        return None
    inner = [_node(one, f"{pointer}/{name}/{n}", faults, depth=depth + 1) for n, one in enumerate(nodes or ())]
    whole = tuple(one for one in inner if one is not None)
    return Every(whole) if name == "and" else Some(whole)


def _term(node: FilterNode, pointer: str, faults: list[Fault]) -> Condition | None:
    missing = [name for name in ("field", "op", "value") if getattr(node, name) is UNSET]
    if node.field is UNSET or node.op is UNSET or node.value is UNSET:
        faults.extend((f"{pointer}/{name}", "missing; a comparison has `field`, `op` and `value`") for name in missing)
        return None
    try:
        path, kind = _field(node.field)
    except ValueError as error:
        faults.append((f"{pointer}/field", str(error)))
        return None
    if node.op not in OPS_OF[kind]:
        known = ", ".join(OPS_OF[kind])
        faults.append((f"{pointer}/op", f"got {node.op!r}, wanted one of {known} for {node.field!r}"))
        return None
    try:
        return Term(path, kind, node.op, _value(node.value, kind, node.op))
    except ValueError as error:
        faults.append((f"{pointer}/value", str(error)))
        return None


def _field(name: str) -> tuple[tuple[str, ...], Kind]:
    """Return path and kind of a field: a member's name, a dotted path, or a JSON pointer for names with dots."""
    if "\0" in name:
        raise ValueError("wanted a name without the character NUL")
    if name.startswith("/"):
        steps = tuple(step.replace("~1", "/").replace("~0", "~") for step in name[1:].split("/"))
    else:
        root, dot, rest = name.partition(".")
        # The names in `metadata` may hold dots themselves, and nothing lies below them.
        steps = (root, rest) if dot and root == "metadata" else tuple(name.split("."))
    kind = MEMBERS.get(".".join(steps)) if len(steps) <= 2 else None
    if kind is not None:
        return steps, kind
    if steps[0] in OPEN_MEMBERS and len(steps) > 1 and (steps[0] == "data" or len(steps) == 2):
        return steps, "any"
    raise ValueError(_unknown(name))


def _unknown(name: str) -> str:
    known = [*MEMBERS, *(f"{member}.NAME" for member in OPEN_MEMBERS)]
    near = difflib.get_close_matches(name[:64], known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    return f"unknown field {name[:64]!r}; {hint}"


def _value(value: Any, kind: Kind, op: Op) -> Value | datetime | tuple[Value, ...]:
    if op == "exists":
        if not isinstance(value, bool):
            raise ValueError("wanted true or false beside `exists`")
        return value
    if op == "in":
        if not isinstance(value, list) or not 1 <= len(value) <= CHOICES:
            got = f"{len(value)} values" if isinstance(value, list) else "no list"
            raise ValueError(f"got {got}, wanted a list of 1 to {CHOICES} values beside `in`")
        return tuple(_scalar(one, kind) for one in value)
    if kind == "time":
        return _time(value)
    found = _scalar(value, kind)
    if op == "prefix" and not isinstance(found, str):
        raise ValueError("wanted a string beside `prefix`")
    if op in ("gt", "gte", "lt", "lte") and isinstance(found, bool):
        raise ValueError(f"wanted a string or a number beside `{op}`")
    return found


def _scalar(value: Any, kind: Kind) -> Value:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {
        "text": isinstance(value, str),
        "texts": isinstance(value, str),
        "number": is_number,
        "boolean": isinstance(value, bool),
        "any": isinstance(value, str | bool) or is_number,
    }
    if not fits[kind]:
        raise ValueError(f"got {_shown(value)}, wanted {_KIND_SAYS[kind]}")
    if isinstance(value, str):
        if len(value) > VALUE_CHARACTERS:
            raise ValueError(f"got {len(value)} characters, wanted at most {VALUE_CHARACTERS}")
        if "\0" in value:
            raise ValueError("wanted a string without the character NUL")
    elif is_number and not -_INTEGER <= value < _INTEGER:  # infinity neither; an integer may be wider than any float
        raise ValueError(f"wanted a number from -2^63 to 2^63, without 2^63; got {value!r}"[:200])
    result: Value = value
    return result


def _time(value: Any) -> datetime:
    try:
        found: datetime = msgspec.convert(value, Annotated[datetime, Meta(tz=True)])
    except msgspec.ValidationError as error:
        raise ValueError(f"got {_shown(value)}, wanted {_KIND_SAYS['time']}") from error
    return found


def _shown(value: Any) -> str:
    return {list: "a list", dict: "an object", type(None): "null"}.get(type(value), repr(value)[:64])
