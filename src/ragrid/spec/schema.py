"""The JSON Schema of a grid file, for editors that complete and check while somebody types."""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from ragrid.spec.models import Grid
from ragrid.spec.not_yet import meaning, not_yet
from ragrid.spec.outline import keys_of, sections_of
from ragrid.spec.show import plain

#: Sections that may be written shorter: a repository as its path alone.
_SHORTHANDS = {"Repository": {"type": "string", "pattern": "^/"}}


class _Draft(GenerateJsonSchema):
    """Names the draft of JSON Schema that pydantic writes."""

    def generate(self, schema: Any, mode: JsonSchemaMode = "validation") -> dict[str, Any]:
        return {"$schema": self.schema_dialect, **super().generate(schema, mode)}

    def encode_default(self, dft: Any) -> Any:
        """Write a default as a grid file would."""
        return plain(dft)

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 -- pydantic's signature
        """Leave out titles: they would only repeat the keys."""
        return False


def json_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12). What it accepts may still break the rules between keys; see rules.py."""
    schema = Grid.model_json_schema(schema_generator=_Draft)
    _say_what_is_missing(schema)
    for name, section in schema["$defs"].items():
        schema["$defs"][name] = _lenient(section, name)
    _lenient(schema, "Grid")
    schema["title"] = "grid.yaml of ragrid"
    return schema


def _say_what_is_missing(schema: dict[str, Any]) -> None:
    """Put what a key does not do yet before its description."""
    for _, section in sections_of(Grid):
        properties = (schema if section is Grid else schema["$defs"][section.__name__])["properties"]
        for key, field, shape in keys_of(section):
            if not_yet(field, shape) is not None:
                properties[key]["description"] = meaning(field, shape)


def _lenient(section: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a section that may also be empty (`auth:` alone means its defaults), or in its short form."""
    for value in section["properties"].values():
        if "patternProperties" in value:
            value["additionalProperties"] = False  # a name that does not fit is no name
        if "Default:" in value.get("description", ""):  # filled in by the loader, so the model's own says nothing
            value.pop("default", None)
    if section.get("required") and name not in _SHORTHANDS:
        return section
    forms = [section, *([] if section.get("required") else [{"type": "null"}])]
    forms += [_SHORTHANDS[name]] if name in _SHORTHANDS else []
    return {"description": section.get("description", name), "anyOf": forms}
