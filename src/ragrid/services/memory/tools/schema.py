"""The arguments of a tool: the parameters and the body of its operation, side by side in one object. Pure."""

from typing import Any, cast

import msgspec

from ragrid.services.memory.api.operation import MERGE_PATCH_TYPE, Operation

#: Header of the API to argument of a tool; headers that are not here are nothing that a model should choose.
NAMESPACE = "Memory-Namespace"
IF_MATCH = "If-Match"
IF_NONE_MATCH = "If-None-Match"
#: The argument that holds the body of an operation whose body has no fixed members.
CHANGES = "changes"

_CHANGE_METHODS = ("PUT", "PATCH", "DELETE")
_VERSION = {"type": "integer", "minimum": 1, "description": "Only if this is still the current version."}
_ABSENT = {"type": "boolean", "description": "Only if there is none yet."}
_PATCH = {"type": "object", "description": "The members to change, with their new values; null takes one away."}


def input_schema(operation: Operation) -> dict[str, Any]:
    """Return the JSON Schema of the arguments of a tool; nothing that it does not name is accepted."""
    properties: dict[str, Any] = {}
    required: list[str] = []
    components: dict[str, Any] = {}
    for parameter in operation.parameters:
        found = _argument(operation, parameter.name)
        if found is None:
            continue
        name, schema = found
        if schema is None:
            (made,), more = _described(parameter.schema)
            components |= more
            schema = {**made, "description": parameter.summary}
        properties[name] = schema
        if parameter.is_required:
            required.append(name)
    if operation.body is not None and operation.body.media_type == MERGE_PATCH_TYPE:
        properties[CHANGES] = _PATCH
        required.append(CHANGES)
    elif operation.body is not None:
        (reference,), more = _described(operation.body.schema)
        whole = more.pop(reference["$ref"].removeprefix("#/$defs/"))
        components |= more
        properties |= whole["properties"]
        required += whole.get("required", [])
    definitions = {"$defs": components} if components else {}
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
        **definitions,
    }


def _argument(operation: Operation, name: str) -> tuple[str, dict[str, Any] | None] | None:
    """Return the argument that a parameter becomes, and its schema where that is another one; None to leave it out."""
    headers = {one.name for one in operation.parameters if one.place == "header"}
    if name not in headers:
        return name, None
    if name == NAMESPACE:
        return "namespace", None
    if name == IF_MATCH and operation.method in _CHANGE_METHODS:
        return "if_version", _VERSION
    if name == IF_NONE_MATCH and operation.method == "PUT":
        return "if_absent", _ABSENT
    return None


def _described(kind: Any) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    schemas, components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    return cast("tuple[dict[str, Any], ...]", tuple(schemas)), components
