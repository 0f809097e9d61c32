"""What callers ask lists and searches for. One that nobody knows is refused: ignored, it would widen a filter."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta
from starlette.requests import Request

from ragrid.services.memory.api.operation import NAMESPACE_HEADER, NAMESPACE_PARAMETER, Parameter
from ragrid.services.memory.cursor import CursorError, decode_cursor
from ragrid.services.memory.filters.model import Condition
from ragrid.services.memory.filters.parse import FilterError, FilterNode, parse_condition
from ragrid.services.memory.model import TAGS, MemoryId, NamespaceName, Reference, Tag, Type
from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.validate import unknown_detail
from ragrid.web.body import decode_json, locate
from ragrid.web.problem import Problem

LIST_LIMIT = 200
LIST_DEFAULT = 50

_ID = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._~-]{1,128}")
_FILTERS = ("type", "tag", "user_id", "agent_id", "session_id", "filter", "include")
_PAGING = ("limit", "cursor")


NAMESPACE = Parameter(
    name=NAMESPACE_HEADER,
    place="header",
    schema=NamespaceName,
    summary="A namespace of the tenant; `default` without it.",
)
#: Described for every operation that takes the header; `perform` puts it there.
NAMESPACE_IN_QUERY = Parameter(
    name=NAMESPACE_PARAMETER,
    place="query",
    schema=NamespaceName,
    summary="The same as the header `Memory-Namespace`, for clients that send none; either, not both.",
)
MEMORY_ID = Parameter(
    name="id", place="path", schema=MemoryId, summary="The id of the memory in its namespace.", is_required=True
)
SESSION_ID = Parameter(
    name="id", place="path", schema=MemoryId, summary="The id of the session in its namespace.", is_required=True
)
LIMIT = Parameter(
    name="limit",
    place="query",
    schema=Annotated[int, Meta(ge=1, le=LIST_LIMIT)],
    summary=f"How many at most; {LIST_DEFAULT} without it.",
)
CURSOR = Parameter(
    name="cursor", place="query", schema=str, summary="`next_cursor` of the page before, with the same filters."
)
EntityTags = Annotated[str, Meta(pattern=r'^(\*|(W/)?"[!#-~]*"(, ?(W/)?"[!#-~]*")*)$')]
IF_MATCH = Parameter(
    name="If-Match",
    place="header",
    schema=EntityTags,
    summary="`*` or the entity tags of which the current one must be one.",
)
IF_NONE_MATCH = Parameter(
    name="If-None-Match",
    place="header",
    schema=EntityTags,
    summary="The entity tags of what the caller has already: then the answer is 304.",
)
IF_THERE_IS_NONE = Parameter(
    name="If-None-Match", place="header", schema=Literal["*"], summary="Only when there is none yet."
)
IDEMPOTENCY_KEY = Parameter(
    name="Idempotency-Key",
    place="header",
    schema=Annotated[str, Meta(min_length=1, max_length=257)],
    summary="A name for this request: sent again within 24 hours, it gives the same answer and makes nothing.",
)


class SearchFilter(FilterNode, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The walls of a search, all of which a result lies within: plain members, and one tree of comparisons."""

    type: Type | None = None
    tags: Annotated[tuple[Tag, ...], Meta(max_length=TAGS)] = ()
    user_id: Reference | None = None
    agent_id: Reference | None = None
    session_id: Reference | None = None


def memory_id_of(request: Request) -> str:
    """Return the id in the path. Raises a 400 Problem when it cannot be one."""
    memory_id: str = request.path_params["id"]
    if not _ID.fullmatch(memory_id):
        raise Problem(400, "invalid-id", "memory id: wanted 1 to 128 characters of A-Z a-z 0-9 . _ ~ -")
    return memory_id


def session_id_of(request: Request) -> str:
    """Return the session id in the path. Raises a 400 Problem when it cannot be one."""
    session_id: str = request.path_params["id"]
    if not _ID.fullmatch(session_id):
        raise Problem(400, "invalid-id", "session id: wanted 1 to 128 characters of A-Z a-z 0-9 . _ ~ -")
    return session_id


def filter_of(request: Request) -> Filter:
    """Return the filter in the query string. Raises a 400 Problem for what is unknown, repeated or out of range, and
    a 422 one for a `filter` that means nothing.
    """
    given = parameters_of(request, (*_FILTERS, *_PAGING))
    members = {name: given[name] for name in ("type", "user_id", "agent_id", "session_id") if name in given}
    tags = dict.fromkeys(request.query_params.getlist("tag"))
    try:
        checked = msgspec.convert({**members, "tags": list(tags)}, SearchFilter)
    except msgspec.ValidationError as error:
        what, pointer = locate(str(error), SearchFilter)
        raise Problem(400, "invalid-parameter", f"parameter {pointer[1:].partition('/')[0]!r}: {what}") from error
    where = condition_of_text(given["filter"]) if "filter" in given else None
    return msgspec.structs.replace(filter_from(checked, ""), where=where)


def filter_from(wanted: SearchFilter, pointer: str) -> Filter:
    """Return the store's filter for a checked one; tags in one order, so that equal filters are equal.

    `pointer` is where it stands in the request. Raises a 422 Problem with all faults of its comparisons.
    """
    tags = tuple(sorted(set(wanted.tags)))
    has_tree = any(getattr(wanted, name) is not UNSET for name in FilterNode.__struct_fields__)
    where = _condition(wanted, pointer) if has_tree else None
    return Filter(wanted.type, tags, wanted.user_id, wanted.agent_id, wanted.session_id, where)


def condition_of_text(text: str) -> Condition:
    """Return the condition in the parameter `filter`. Raises a 400 Problem for no JSON, a 422 one for its faults."""
    return _condition(decode_json(text.encode(), FilterNode), "")


def _condition(node: FilterNode, pointer: str) -> Condition:
    try:
        return parse_condition(node, pointer)
    except FilterError as error:
        errors = [{"pointer": where, "detail": detail} for where, detail in error.faults]
        raise Problem(422, "invalid-filter", "the filter means nothing; `errors` says why", errors=errors) from error


def parameters_of(request: Request, known: tuple[str, ...]) -> Mapping[str, str]:
    """Return the query string. Raises a 400 Problem for an unknown parameter, or one that came twice (save `tag`)."""
    seen: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in known:
            raise Problem(400, "unknown-parameter", unknown_detail(name, known).replace("member", "parameter"))
        if name in seen and name != "tag":
            raise Problem(400, "repeated-parameter", f"parameter {name!r} came more than once")
        seen[name] = value
    return seen


def id_parameter(given: Mapping[str, str], name: str) -> str | None:
    """Return one parameter that is an id, None when it did not come. Raises a 400 Problem when it cannot be one."""
    value = given.get(name)
    if value is not None and not _ID.fullmatch(value):
        detail = f"parameter {name!r}: got {value[:20]!r}, wanted an id: 1 to 128 characters of A-Z a-z 0-9 . _ ~ -"
        raise Problem(400, "invalid-parameter", detail)
    return value


def whole_number(given: Mapping[str, str], name: str, *, low: int, high: int, default: int) -> int:
    """Return one parameter as a number. Raises a 400 Problem when it is none or out of range."""
    raw = given.get(name, str(default))
    if not (raw.isascii() and raw.isdecimal() and len(raw) <= len(str(high)) and low <= int(raw) <= high):
        raise Problem(400, "invalid-parameter", f"parameter {name!r}: got {raw[:20]!r}, wanted {low} to {high}")
    return int(raw)


def paging_of(request: Request, walk: tuple[object, ...]) -> tuple[int, int | None]:
    """Return the page size and where to go on. Raises a 400 Problem."""
    raw = request.query_params.get("limit", str(LIST_DEFAULT))
    if not (
        raw.isascii() and raw.isdecimal() and 1 <= len(raw) <= len(str(LIST_LIMIT)) and 1 <= int(raw) <= LIST_LIMIT
    ):
        raise Problem(400, "invalid-parameter", f"parameter 'limit': got {raw[:20]!r}, wanted 1 to {LIST_LIMIT}")
    cursor = request.query_params.get("cursor")
    if cursor is None:
        return int(raw), None
    try:
        return int(raw), decode_cursor(cursor, walk)
    except CursorError as error:
        detail = f"parameter 'cursor': {error}; use it with the filters it came with, or start again without it"
        raise Problem(400, "invalid-cursor", detail) from error


def history_paging_of(request: Request, walk: tuple[object, ...]) -> tuple[int, int | None]:
    """Return the page size and where to go on in a history. Raises a 400 Problem."""
    parameters_of(request, _PAGING)
    return paging_of(request, walk)
