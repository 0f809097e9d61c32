"""The JSON Schema and the reference page say what the models say."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ragrid.spec.document import parse_document
from ragrid.spec.models import Grid
from ragrid.spec.outline import Shape, keys_of, shape_at
from ragrid.spec.reference import grid_reference
from ragrid.spec.schema import json_schema

ROOT = Path(__file__).parents[3]
BAD = ROOT / "tests" / "golden" / "spec" / "bad"


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json_schema())


def test_the_schema_is_one(validator: jsonschema.Draft202012Validator) -> None:
    validator.check_schema(validator.schema)
    assert json_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "examples").glob("*.yaml")))
def test_every_example_keeps_to_the_schema(validator: jsonschema.Draft202012Validator, name: str) -> None:
    value = parse_document((ROOT / "examples" / name).read_text()).value
    assert [error.message for error in validator.iter_errors(value)] == []


def test_empty_sections_keep_to_the_schema(validator: jsonschema.Draft202012Validator) -> None:
    value = {"grid": "x", "hosts": {"one": {"lan": "10.0.0.1"}}, "auth": None, "services": {"memory": None}}
    assert [error.message for error in validator.iter_errors(value)] == []


# Not all of them: what needs more than one key, or arithmetic, a schema cannot say.
@pytest.mark.parametrize(
    "name",
    ["key-unknown", "key-unknown-nested", "key-missing-top", "key-hosts-is-a-list", "key-no-hosts", "scalar-port",
     "scalar-choice", "scalar-duration", "scalar-percentage", "scalar-secret-literal", "scalar-boolean-yaml-1.1",
     "scalar-permission", "scalar-host-name", "scalar-path"],
)  # fmt: skip
def test_the_schema_refuses_what_the_loader_refuses(validator: jsonschema.Draft202012Validator, name: str) -> None:
    value = parse_document((BAD / f"{name}.yaml").read_text()).value
    assert list(validator.iter_errors(value))


def test_every_key_has_a_description_and_every_default_is_written_as_in_a_file() -> None:
    for path, schema in _properties(json_schema()):
        assert schema.get("description") or "$ref" in schema, path
        assert not isinstance(schema.get("default"), dict) or schema["default"] == {}, path


def _properties(schema: dict[str, Any], path: str = "") -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []
    for key, value in schema.items():
        if key == "properties":
            found += [(f"{path}.{name}", each) for name, each in value.items()]
        if isinstance(value, dict):
            found += _properties(value, f"{path}.{key}")
    return found


def test_the_reference_page_is_up_to_date() -> None:
    page = ROOT / "docs" / "reference" / "grid.md"
    hint = "run `python -m ragrid.spec.reference > docs/reference/grid.md` and commit the difference"
    assert page.read_text() == grid_reference(), hint


def test_the_reference_page_names_every_key() -> None:
    page = grid_reference()
    for key in _keys(Shape(section=Grid)):
        assert f"| `{key}` |" in page


def _keys(shape: Shape | None) -> set[str]:
    if shape is None or shape.section is None:
        return set() if shape is None else _keys(shape.list_of) | _keys(shape.map_of)
    own = list(keys_of(shape.section))
    return {key for key, _, _ in own}.union(*(_keys(inner) for _, _, inner in own))


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (("hosts", "any", "lan"), "an IP address"),
        (("backup", "repositories", 0, "path"), "an absolute path"),
        (("networks", "lan", "for"), "`users`, `services` or `gpu`"),
        (("gateway", "on"), "a list, each item a host name: lower-case letters, digits, `-` and `.`"),
    ],
)
def test_the_outline_knows_what_may_stand_where(path: tuple[str | int, ...], wanted: str) -> None:
    shape = shape_at(Grid, path)
    assert shape is not None
    assert shape.wanted == wanted


def test_the_outline_knows_what_may_not() -> None:
    assert shape_at(Grid, ("grid", "lan", "too", "deep")) is None
