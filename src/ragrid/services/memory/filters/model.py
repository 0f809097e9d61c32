"""What a filter is once it is understood: a tree of terms. Pure; every store means the same by it.

A member that is absent, or null, has no value: only `ne` and `exists: false` hold for it. Values of different JSON
types are never equal and never ordered (1 and 1.0 are both numbers). Strings are compared by code point.
"""

from datetime import datetime
from typing import Literal

import msgspec

Op = Literal["eq", "ne", "in", "gt", "gte", "lt", "lte", "exists", "prefix", "contains"]

Value = str | int | float | bool
#: What a member holds; `any` is decided by the memory: the values inside `metadata` and `data`.
Kind = Literal["text", "number", "boolean", "time", "texts", "any"]

#: The members that a filter may name, and what they hold. Below `metadata` and `data` any name may follow.
MEMBERS: dict[str, Kind] = {
    "id": "text",
    "type": "text",
    "content": "text",
    "user_id": "text",
    "agent_id": "text",
    "session_id": "text",
    "tags": "texts",
    "importance": "number",
    "pinned": "boolean",
    "source.kind": "text",
    "source.ref": "text",
    "valid_from": "time",
    "valid_to": "time",
    "expires_at": "time",
    "created_at": "time",
    "created_by": "text",
    "updated_at": "time",
    "updated_by": "text",
    "version": "number",
    "seq": "number",
}
OPEN_MEMBERS = ("metadata", "data")

_ORDER: tuple[Op, ...] = ("gt", "gte", "lt", "lte")
#: The comparisons that a kind of member knows.
OPS_OF: dict[Kind, tuple[Op, ...]] = {
    "text": ("eq", "ne", "in", *_ORDER, "exists", "prefix", "contains"),
    "number": ("eq", "ne", "in", *_ORDER, "exists"),
    "boolean": ("eq", "ne", "in", "exists"),
    "time": ("eq", "ne", *_ORDER, "exists"),
    "texts": ("contains", "exists"),
    "any": ("eq", "ne", "in", *_ORDER, "exists", "prefix", "contains"),
}


class Term(msgspec.Struct, frozen=True):
    """One comparison. `path` leads to the member, through objects only; `value` is a tuple for `in`."""

    path: tuple[str, ...]
    kind: Kind
    op: Op
    value: Value | datetime | tuple[Value, ...]


class Every(msgspec.Struct, frozen=True):
    """Holds when all of `of` hold; of nothing, always."""

    of: tuple["Condition", ...]


class Some(msgspec.Struct, frozen=True):
    """Holds when any of `of` holds; of nothing, never."""

    of: tuple["Condition", ...]


Condition = Term | Every | Some
