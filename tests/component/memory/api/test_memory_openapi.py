"""The description of the memory API is whole, sound, and the one in the manual."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from starlette.routing import Route

from ragrid.monitoring import names
from ragrid.services.memory.api.document import document as made_document
from ragrid.services.memory.api.operation import COMMON_PROBLEMS
from ragrid.services.memory.api.problems import PROBLEM_STATUS
from ragrid.services.memory.api.routes import MemoryApi
from ragrid.services.memory.inmemory.store import InMemoryStore
from ragrid.services.memory.service import build_memory_application
from ragrid.system.clock import ManualClock
from support.described import Described
from support.memory_calls import Caller
from support.token_mint import TokenMint

ROOT = Path(__file__).parents[4]
SOURCES = ("src/ragrid/services/memory", "src/ragrid/web")
#: Codes that no operation gives: of tools, of readiness, and of faults of our own.
OF_NO_OPERATION = {"invalid-arguments", "not-ready", "internal-error", "failed", "unavailable", "forbidden"}


@pytest.fixture(scope="module")
def api() -> MemoryApi:
    return MemoryApi(InMemoryStore(), ManualClock())


@pytest.fixture(scope="module")
def document() -> Any:
    return json.loads(json.dumps(made_document()))


def test_every_route_is_described_and_nothing_else(mint: TokenMint, document: Any) -> None:
    application = build_memory_application(InMemoryStore(), mint.verifier(), mint.clock, prefix="/memory")
    served = {
        (method, route.path)
        for route in application.routes
        if isinstance(route, Route) and route.path.startswith("/memory/v1")
        for method in route.methods or ()
    }
    described = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert described == served


def test_every_operation_has_a_name_of_its_own_and_asks_for_a_permission(document: Any) -> None:
    operations = [one for item in document["paths"].values() for one in item.values()]
    names = [one["operationId"] for one in operations]
    assert len(set(names)) == len(names)
    allowed = {"memory:read", "memory:write", "memory:admin"}
    assert {permission for one in operations for permission in one["security"][0]["token"]} <= allowed


def test_every_schema_is_sound(document: Any) -> None:
    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if "schema" in value:
                Draft202012Validator.check_schema(value["schema"])
            if isinstance(value.get("$ref"), str):
                assert value["$ref"].removeprefix("#/components/schemas/") in document["components"]["schemas"]
            for one in value.values():
                walk(one)
        elif isinstance(value, list):
            for one in value:
                walk(one)

    walk(document)
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_every_parameter_of_a_path_is_described(document: Any) -> None:
    for path, item in document["paths"].items():
        for one in item.values():
            named = {each["name"] for each in one["parameters"] if each["in"] == "path"}
            assert named == set(re.findall(r"\{([^}]+)\}", path)), path


def test_every_code_that_is_raised_has_its_status() -> None:
    raised = {
        (code, int(status))
        for folder in SOURCES
        for file in (ROOT / folder).rglob("*.py")
        for status, code in re.findall(r'Problem\(\s*(\d{3}),\s*"([a-z-]+)"', file.read_text())
    }
    assert {one for one in raised if one[0] not in OF_NO_OPERATION} <= set(PROBLEM_STATUS.items())


def test_every_code_is_declared_by_some_operation(api: MemoryApi) -> None:
    declared = {code for one in api.operations for code in one.problems} | set(COMMON_PROBLEMS)
    assert declared == set(PROBLEM_STATUS)


async def test_it_is_served_to_whoever_may_read(client: httpx.AsyncClient, mint: TokenMint, document: Any) -> None:
    headers = {"authorization": f"Bearer {mint.token()}"}
    assert (await client.get("/memory/v1/openapi.json", headers=headers)).json() == document
    assert (await client.get("/memory/v1/openapi.json")).status_code == 401


def test_the_copy_in_the_manual_is_the_same(document: Any) -> None:
    """To renew it: `ragrid memory openapi > docs/reference/memory-openapi.json`."""
    copy = json.loads((ROOT / "docs" / "reference" / "memory-openapi.json").read_text())
    assert copy == document


def test_the_manual_tells_every_refusal_and_every_metric() -> None:
    manual = (ROOT / "docs" / "memory.md").read_text()
    refusals = manual.split("\n## Refusals\n")[1].split("\n## ")[0]
    told = {
        (code, int(status))
        for line in refusals.splitlines()
        if (row := re.match(r"\| ([\d, ]+) \| (.*?) \| ", line))
        for status, code in _paired(row[1].split(", "), re.findall("`([a-z-]+)`", row[2]))
    }
    assert told == set(PROBLEM_STATUS.items())
    watching = manual.split("\n## Watching it\n")[1].split("\n## ")[0]
    metrics = set(re.findall("`([a-z_]+)(?:{[a-z,]+})?`", watching))
    assert metrics >= {*names.MEMORY, *names.SERVICES, *names.PROCESS}
    assert {one for one in metrics if one.startswith("memory_")} == set(names.MEMORY)


def _paired(statuses: list[str], codes: list[str]) -> list[tuple[str, str]]:
    """A row with several statuses has a code for each; a row with one has it for all codes."""
    return list(zip(statuses if len(statuses) > 1 else statuses * len(codes), codes, strict=True))


async def test_an_answer_that_is_not_described_is_noticed(client: httpx.AsyncClient, alice: Caller) -> None:
    answer = await alice.call("POST", json={"content": "x"})
    document = (await alice.call("GET", "/../openapi.json")).json()
    del document["paths"]["/memory/v1/memories"]["post"]["responses"]["201"]
    with pytest.raises(AssertionError, match="201: not announced"):
        Described(document).check(answer.request, answer)
