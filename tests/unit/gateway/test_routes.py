"""The policy table says yes to what it lists and to nothing else."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragrid.gateway.route import Found, WrongMethod, find_route
from ragrid.gateway.routes import POLICY
from ragrid.identity.roles import BUILTIN_ROLES

_COLLECTION = "/api/v2/tenants/t/databases/d/collections/c"


@pytest.mark.parametrize(
    ("service", "method", "path", "name", "permission"),
    [
        ("chromadb", "POST", f"{_COLLECTION}/query", "query", "chromadb:read"),
        ("chromadb", "POST", f"{_COLLECTION}/get", "get", "chromadb:read"),
        ("chromadb", "POST", f"{_COLLECTION}/search", "search", "chromadb:read"),
        ("chromadb", "GET", f"{_COLLECTION}/count", "count", "chromadb:read"),
        ("chromadb", "POST", f"{_COLLECTION}/add", "add", "chromadb:write"),
        ("chromadb", "POST", f"{_COLLECTION}/delete", "delete", "chromadb:write"),
        ("chromadb", "DELETE", _COLLECTION, "delete_collection", "chromadb:write"),
        ("chromadb", "POST", "/api/v2/tenants", "create_tenant", "chromadb:admin"),
        ("chromadb", "POST", "/api/v2/tenants/t/databases", "create_database", "chromadb:admin"),
        ("chromadb", "GET", "/api/v2", "root", "chromadb:read"),
        ("memory", "POST", "/memory/v1/memories/search", "search", "memory:read"),
        ("memory", "POST", "/memory/v1/search", "write", "memory:write"),
        ("memory", "POST", "/memory/v1/memories", "write", "memory:write"),
        ("memory", "GET", "/memory/v1/admin/backup", "admin", "memory:admin"),
        ("rag", "POST", "/rag/v1/ask", "ask", "rag:read"),
        ("rag", "POST", "/rag/v1/rebuild", "rebuild", "rag:admin"),
        ("rag", "DELETE", "/rag/v1/documents/1", "write", "rag:write"),
        ("vllm", "POST", "/v1/chat/completions", "chat", "vllm:infer"),
        ("vllm", "GET", "/v1/models/Qwen/Qwen3-8B", "model", "vllm:infer"),
        ("tokens", "POST", "/oauth2/token", "token", None),
        ("tokens", "POST", "/tokens/v1/clients", "admin", "tokens:admin"),
    ],
)
def test_a_listed_request_has_its_permission(
    service: str, method: str, path: str, name: str, permission: str | None
) -> None:
    found = find_route(POLICY[service], method, path)
    assert isinstance(found, Found)
    assert (found.route.name, found.route.permission) == (name, permission)


def test_a_path_names_its_tenant() -> None:
    found = find_route(POLICY["chromadb"], "GET", "/api/v2/tenants/blue/databases")
    assert isinstance(found, Found)
    assert found.tenant == "blue"


@pytest.mark.parametrize(
    "path",
    ["/api/v2/reset", "/api/v2/collections/a:b:c", "/api/v2/docs", "/openapi.json", "/api/v2/", "/api/v2/tenants/t/"],
)
def test_what_is_closed_is_closed_for_every_method(path: str) -> None:
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"):
        assert find_route(POLICY["chromadb"], method, path) is None


def test_a_wrong_method_is_told_the_right_ones() -> None:
    assert find_route(POLICY["rag"], "GET", "/rag/v1/ask") != WrongMethod(("POST",))  # GET /rag/v1/** reads
    assert find_route(POLICY["vllm"], "DELETE", "/v1/models") == WrongMethod(("GET", "HEAD"))


def test_every_permission_is_one_that_some_role_holds() -> None:
    known = set(itertools.chain.from_iterable(BUILTIN_ROLES.values()))
    routes = [route for policy in POLICY.values() for route in policy.routes]
    assert {route.permission for route in routes if route.permission} <= known
    public = {"token", "revoke", "introspect", "device_authorization", "authorize", "device", "jwks", "metadata"}
    public |= {"resource"}
    assert {route.name for route in routes if route.permission is None} == public


def test_no_write_is_replayed_unless_it_may_be() -> None:
    """Replaying needs the same effect twice as once: reads, searches, upserts, imports by id and version."""
    replayed = {
        (service, route.name)
        for service, policy in POLICY.items()
        for route in policy.routes
        if route.idempotent and not (route.permission or ":read").endswith((":read", ":infer"))
    }
    assert replayed == {("chromadb", "upsert"), ("chromadb", "update"), ("memory", "import")}


@pytest.mark.parametrize("service", sorted(POLICY))
def test_expressions_mean_the_same_to_pcre(service: str) -> None:
    """Nothing that PCRE reads otherwise: anchored, escaped, named groups only."""
    for route in POLICY[service].routes:
        assert re.fullmatch(r"\^(?:[\w/.\\+-]|\(\?P<[a-z_]+>\[\^/\]\+\))+\$", route.expression), route.expression


@given(st.text(alphabet="abv12/.%-", max_size=40), st.sampled_from(sorted(POLICY)))
def test_no_path_outside_the_prefixes_is_found(path: str, service: str) -> None:
    policy = POLICY[service]
    if find_route(policy, "GET", path) is not None:
        assert path.startswith(policy.prefixes)
