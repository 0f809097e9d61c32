"""What a request about one memory may ask: a version of its past, to purge it, what to do with duplicates."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request

from ragrid.services.memory.api.operation import Parameter
from ragrid.services.memory.api.parameters import parameters_of
from ragrid.services.memory.changes import OnDuplicate
from ragrid.services.memory.model import Moment, microseconds
from ragrid.web.body import locate
from ragrid.web.problem import Problem

VersionNumber = Annotated[int, Meta(ge=1, le=10**18)]

VERSION = Parameter(name="version", place="query", schema=VersionNumber, summary="This version, and not the current.")
AS_OF = Parameter(
    name="as_of", place="query", schema=Moment, summary="The version that a reader saw at this time, with its zone."
)
PURGE = Parameter(
    name="purge",
    place="query",
    schema=Literal["true", "false"],
    summary="Erase the history, too; the id and its version numbers stay taken.",
)
ON_DUPLICATE = Parameter(
    name="on_duplicate",
    place="query",
    schema=OnDuplicate,
    summary="What to do when a memory says the same: make one all the same, return that one, or take its place.",
)


def past_of(request: Request) -> tuple[int | None, int | None]:
    """Return the version or the time (microseconds) that a read asks for. Raises a 400 Problem."""
    given = parameters_of(request, ("version", "as_of"))
    if len(given) != 1:
        raise Problem(400, "invalid-parameter", "query string: wanted either `version` or `as_of`, got both")
    if "version" in given:
        version: int = _converted(given, "version", VersionNumber)
        return version, None
    as_of: datetime = _converted(given, "as_of", Moment)
    return None, microseconds(as_of)


def is_purge(request: Request) -> bool:
    """Tell whether a delete is to erase the history. Raises a 400 Problem."""
    given = parameters_of(request, ("purge",)) if request.scope["query_string"] else {}
    return "purge" in given and bool(_converted(given, "purge", Literal["true", "false"]) == "true")


def on_duplicate_of(request: Request) -> OnDuplicate | None:
    """Return what a create does with duplicates, None when the namespace decides. Raises a 400 Problem."""
    given = parameters_of(request, ("on_duplicate",)) if request.scope["query_string"] else {}
    if "on_duplicate" not in given:
        return None
    wish: OnDuplicate = _converted(given, "on_duplicate", OnDuplicate)
    return wish


def _converted(given: Mapping[str, str], name: str, kind: Any) -> Any:
    try:
        return msgspec.convert(given[name], kind, strict=kind is Moment)  # laxly, a number were a time, too
    except msgspec.ValidationError as error:
        what, _ = locate(str(error), kind)
        raise Problem(400, "invalid-parameter", f"parameter {name!r}: {what}") from error
