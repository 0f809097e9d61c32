"""From the arguments of a tool to its operation's request, and from the answer to what a model reads. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import msgspec

from ragrid.services.memory.api.operation import Operation
from ragrid.services.memory.tools.schema import CHANGES
from ragrid.services.memory.validate import unknown_detail
from ragrid.web.problem import Problem
from ragrid.web.whole_numbers import whole

#: A memory is known by these members, wherever in an answer it is.
_OF_A_MEMORY = frozenset({"id", "namespace", "version", "content"})
_OF_HEADERS = frozenset({"namespace", "if_version", "if_absent"})


@dataclass(frozen=True, slots=True, kw_only=True)
class InnerRequest:
    """One request to an operation in this very process."""

    path: Mapping[str, str]
    query: str
    headers: Mapping[str, str]
    body: bytes


def inner_request(operation: Operation, schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> InnerRequest:
    """Return the request that `arguments` make; `schema` is the tool's.

    Values are left to the operation to check. Raises a 422 Problem with a pointer for each argument that is unknown or
    missing.
    """
    _check(schema, arguments)
    places = {one.name: one.place for one in operation.parameters}
    path = {name: str(arguments[name]) for name, place in places.items() if place == "path"}
    query = {name: arguments[name] for name, place in places.items() if place == "query" and name in arguments}
    named = {*path, *query, *_OF_HEADERS}
    body = arguments.get(CHANGES, {name: value for name, value in arguments.items() if name not in named})
    headers = _headers(arguments)
    if operation.body is not None:
        headers["content-type"] = operation.body.media_type
    return InnerRequest(
        path=path,
        query=urlencode([(name, _text(one)) for name, value in query.items() for one in _several(value)]),
        headers=headers,
        body=b"" if operation.body is None else msgspec.json.encode(body),
    )


def lean(value: Any) -> Any:
    """Return an answer without the members of its memories that say nothing: null, and empty lists and objects.

    A model pays for each of them. What lies inside `data` and `metadata` is the caller's and stays as it is.
    """
    if isinstance(value, list):
        return [lean(one) for one in value]
    if not isinstance(value, dict):
        return value
    if value.keys() >= _OF_A_MEMORY:
        return {name: one for name, one in value.items() if one is not None and one not in ([], {})}
    return {name: lean(one) for name, one in value.items()}


def _check(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
    known = tuple(schema["properties"])
    faults = [
        (f"/{name}", unknown_detail(name, known).replace("member", "argument"))
        for name in arguments
        if name not in known
    ]
    faults += [(f"/{name}", "wanted, and missing") for name in schema["required"] if name not in arguments]
    if CHANGES in known and not isinstance(arguments.get(CHANGES, {}), dict):
        faults.append((f"/{CHANGES}", "wanted an object"))
    if not isinstance(whole(arguments.get("if_version", 1)), int):
        faults.append(("/if_version", "wanted a version, which is a whole number"))
    if faults:
        errors = [{"pointer": pointer, "detail": detail} for pointer, detail in faults]
        raise Problem(422, "invalid-arguments", "the arguments do not fit this tool", errors=errors)


def _headers(arguments: Mapping[str, Any]) -> dict[str, str]:
    headers: dict[str, str] = {}
    if arguments.get("namespace") is not None:
        headers["memory-namespace"] = str(arguments["namespace"])
    if arguments.get("if_version") is not None:
        headers["if-match"] = f'"{whole(arguments["if_version"])}"'
    if arguments.get("if_absent"):
        headers["if-none-match"] = "*"
    return headers


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(whole(value)).decode()
