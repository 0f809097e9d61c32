"""The edge's table decides every operation that our own services serve; a new one needs a line here or there."""

import re
from typing import Any, cast

import pytest

from ragrid.gateway.closed import CLOSED
from ragrid.gateway.route import Found, find_route
from ragrid.gateway.routes import POLICY
from ragrid.services.memory.api.batch import BATCH_BYTES
from ragrid.services.memory.api.exchange import IMPORT_BYTES
from ragrid.services.memory.api.routes import MemoryApi
from ragrid.services.memory.model import BODY_BYTES
from ragrid.services.memory.tools.endpoint import ToolEndpoint
from ragrid.services.rag.routes import FILE_LIMIT_BYTES, Parts, build_routes
from ragrid.system.clock import SystemClock
from support.operations import is_let_through, of_routes, undecided


def _routes(service: str) -> list[Any]:
    """The routes as the service builds them; what stands behind them is never called."""
    if service == "memory":
        api = MemoryApi(cast("Any", None), SystemClock())
        return [*api.routes(), ToolEndpoint(api.operations).route()]
    return list(build_routes(cast("Parts", None), "/rag"))


@pytest.mark.parametrize("service", ["memory", "rag"])  # tokens: tests/component, with a store
def test_every_operation_of_our_own_services_is_decided(service: str) -> None:
    operations = of_routes(_routes(service))
    assert operations
    assert undecided(service, operations) == []


def test_every_way_to_search_memories_is_open_to_readers_and_replayed() -> None:
    route = next(route for route in POLICY["memory"].routes if route.path == "/memory/v1/memories/search")
    assert (route.permission, route.idempotent, route.methods) == ("memory:read", True, ("POST",))


def test_no_route_takes_less_than_the_service_behind_it() -> None:
    limits = {BODY_BYTES: 0, BATCH_BYTES: 0, IMPORT_BYTES: 0}
    for operation in MemoryApi(cast("Any", None), SystemClock()).operations:
        if operation.body is not None:
            found = find_route(POLICY["memory"], operation.method, "/memory/v1" + operation.path.replace("{id}", "x"))
            assert isinstance(found, Found)
            assert found.route.body_limit_bytes == operation.body.limit_bytes, operation.id
            limits[operation.body.limit_bytes] += 1
    assert min(limits.values()) > 0
    assert next(r for r in POLICY["rag"].routes if r.name == "write").body_limit_bytes >= FILE_LIMIT_BYTES


def test_what_is_listed_as_closed_is_closed_and_says_why() -> None:
    assert sorted(CLOSED) == sorted(POLICY)
    for service, operations in CLOSED.items():
        for operation, reason in operations.items():
            assert not is_let_through(service, operation), operation
            assert re.search(r"\w+ \w+", reason), operation


@pytest.mark.parametrize(
    "path", ["/pause", "/update_weights", "/sleep", "/wake_up", "/collective_rpc", "/v1/load_lora_adapter"]
)
def test_what_vllm_adds_in_other_modes_is_closed(path: str) -> None:
    """Pitfall 9: vLLM's own API key covers only some prefixes, and its administration is open to anybody."""
    assert not is_let_through("vllm", ("POST", path))
