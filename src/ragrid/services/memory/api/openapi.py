"""OpenAPI 3.1, made of the list of operations: what is served and what is described cannot differ. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ragrid.services.memory.api.operation import COMMON_PROBLEMS, Operation, Parameter, Success
from ragrid.services.memory.api.parameters import NAMESPACE, NAMESPACE_IN_QUERY
from ragrid.services.memory.api.problems import PROBLEM_STATUS
from ragrid.services.memory.api.search import SearchRequest
from ragrid.services.memory.messages import MessageInput
from ragrid.services.memory.model import MemoryInput
from ragrid.web.problem import MEDIA_TYPE

_SCHEMAS = "#/components/schemas/"
_DESCRIPTION = """\
Structured memories for agents and people. Tenant and author come from the token; what lies behind a wall is 404.

Every refusal is `application/problem+json` with a stable `code`. The gateway may also refuse before the service is
asked: 404 and 405 for what no route names, 429 with `Retry-After`, 502 to 504 while no instance answers."""
_HEADERS: Mapping[str, str] = {
    "etag": "The version, as an entity tag: send it as If-Match with a change.",
    "location": "The path of what was made.",
    "idempotency-replayed": "`true` when this answer was given to the same request before.",
    "retry-after": "Seconds to wait before the next attempt.",
    "www-authenticate": "What kind of token is wanted (RFC 6750).",
}
#: What the types themselves cannot say: which members need one another.
_SAYS_SOMETHING = {
    "anyOf": [
        {"properties": {"content": {"minLength": 1}}, "required": ["content"]},
        {"properties": {"data": {"minProperties": 1}}, "required": ["data"]},
    ]
}
_ASKS_SOMETHING = {
    "anyOf": [
        {"properties": {"query": {"minLength": 1}}, "required": ["query"]},
        {"properties": {"vector": {"type": "object"}}, "required": ["vector"]},
    ]
}
_RULES: Mapping[type, Mapping[str, Any]] = {
    MemoryInput: _SAYS_SOMETHING,
    MessageInput: _SAYS_SOMETHING,
    SearchRequest: _ASKS_SOMETHING,
}
_HEADERS_OF_STATUS: Mapping[int, tuple[str, ...]] = {
    401: ("www-authenticate",),
    403: ("www-authenticate",),
    503: ("retry-after",),
}


class Fault(msgspec.Struct, frozen=True):
    """One wrong member of a body; `pointer` is a JSON pointer (RFC 6901), empty for the whole body."""

    pointer: str
    detail: str


class ProblemDetails(msgspec.Struct, frozen=True, omit_defaults=True):
    """A refusal (RFC 9457); its kind may add members of its own."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str = ""
    errors: tuple[Fault, ...] = ()


def openapi_document(operations: Sequence[Operation], *, base: str, version: str) -> dict[str, Any]:
    """Return the description of `operations`, whose paths lie below `base`; the same bytes each time."""
    types = _types(operations)
    found, components = msgspec.json.schema_components(types, ref_template=_SCHEMAS + "{name}")
    for kind, rules in _RULES.items():
        if kind.__name__ in components:
            components[kind.__name__].update(rules)
    schemas = _Schemas(types, found)
    paths: dict[str, dict[str, Any]] = {}
    for one in sorted(operations, key=lambda each: (each.path, each.method)):
        item = paths.setdefault(base + one.path, {})
        item[one.method.lower()] = _operation(one, schemas)
        if one.method == "GET":
            item["head"] = _head(one, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "ragrid memory", "version": version, "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.items())),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


class _Schemas:
    """The schema of each type, as it is written where the type is used."""

    def __init__(self, types: Sequence[Any], schemas: Sequence[dict[str, Any]]) -> None:
        self._pairs = list(zip(types, schemas, strict=True))

    def of(self, wanted: Any) -> dict[str, Any]:
        return next(dict(schema) for kind, schema in self._pairs if kind == wanted)


def _types(operations: Sequence[Operation]) -> list[Any]:
    found: list[Any] = [ProblemDetails]
    for one in operations:
        bodies = [] if one.body is None else [one.body.schema]
        answers = [success.schema for success in one.successes if success.schema is not None]
        for kind in (*(parameter.schema for parameter in _parameters(one)), *bodies, *answers):
            if kind not in found:
                found.append(kind)
    return found


def _operation(one: Operation, schemas: _Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": one.id,
        "summary": one.summary,
        "security": [{"token": [one.permission]}],
        "parameters": [_parameter(parameter, schemas) for parameter in _parameters(one)],
    }
    if one.body is not None:
        content = {one.body.media_type: {"schema": schemas.of(one.body.schema)}}
        limit = f"At most {one.body.limit_bytes} bytes."
        described["requestBody"] = {"required": True, "description": limit, "content": content}
    answers = {str(success.status): _success(success, schemas) for success in one.successes}
    described["responses"] = dict(sorted({**answers, **_refusals(one)}.items()))
    return described


def _parameters(one: Operation) -> list[Parameter]:
    has_namespace = any(parameter.name == NAMESPACE.name for parameter in one.parameters)
    return [*one.parameters, *([NAMESPACE_IN_QUERY] if has_namespace else [])]


def _head(one: Operation, schemas: _Schemas) -> dict[str, Any]:
    described = _operation(one, schemas)
    bare = {
        status: {name: value for name, value in answer.items() if name != "content"}
        for status, answer in described["responses"].items()
    }
    summary = f"The same without a body: {one.summary[:1].lower()}{one.summary[1:]}"
    return {**described, "operationId": f"{one.id}Head", "summary": summary, "responses": bare}


def _parameter(parameter: Parameter, schemas: _Schemas) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.is_required,
        "description": parameter.summary,
        "schema": schemas.of(parameter.schema),
    }


def _success(success: Success, schemas: _Schemas) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if success.schema is not None:
        content = {"content": {success.media_type: {"schema": schemas.of(success.schema)}}}
    return {"description": success.summary, **_headers(success.headers), **content}


def _refusals(one: Operation) -> dict[str, Any]:
    codes: dict[int, set[str]] = {}
    for code in (*COMMON_PROBLEMS, *one.problems):
        codes.setdefault(PROBLEM_STATUS[code], set()).add(code)
    return {str(status): _refusal(status, sorted(found)) for status, found in codes.items()}


def _refusal(status: int, codes: Sequence[str]) -> dict[str, Any]:
    narrowed = {"properties": {"status": {"const": status}, "code": {"enum": list(codes)}}}
    schema = {"allOf": [{"$ref": f"{_SCHEMAS}{ProblemDetails.__name__}"}, narrowed]}
    headers = _headers(_HEADERS_OF_STATUS.get(status, ()))
    return {"description": ", ".join(codes), **headers, "content": {MEDIA_TYPE: {"schema": schema}}}


def _headers(names: Sequence[str]) -> dict[str, Any]:
    if not names:
        return {}
    return {"headers": {name: {"description": _HEADERS[name], "schema": {"type": "string"}} for name in names}}
