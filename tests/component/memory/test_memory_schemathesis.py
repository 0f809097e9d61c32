"""Requests made of the API's own description: no fault of ours, and no answer that the description does not announce.

`RAGRID_API_EXAMPLES=1000 pytest -n 2 -rP tests/component/memory/test_memory_schemathesis.py` is the whole proof: a test
for each group of paths, so that `-k` repeats one. `RAGRID_API_STORE=postgresql` asks the other store.
"""

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from ragrid.services.memory.api.document import document
from ragrid.spec.settings import EmbedderSettings
from support.memory_process import MemoryProcess
from support.memory_stores import memory_database, memory_database_new, memory_database_of_session, memory_role

__all__ = ["memory_database", "memory_database_new", "memory_database_of_session", "memory_role"]

#: Requests for each operation.
EXAMPLES = int(os.environ.get("RAGRID_API_EXAMPLES", "2"))
STORE = os.environ.get("RAGRID_API_STORE", "sqlite")
IS_LONG = EXAMPLES >= 100
#: What is asked of every operation; a long run also asks for each boundary of each parameter by itself.
PHASES = "coverage,fuzzing" if IS_LONG else "fuzzing"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
#: They last as long as the caller does; their own tests look at them.
ENDLESS = ("streamChanges", "streamChangesHead")
BASE = "/memory/v1/"
#: Paths by their beginning, and what is left of them; each group has a store of its own, with some memories in it.
GROUPS = {
    "everything": "",
    "list": "memories$",
    "memory": "memories/{id}",
    "many": "memories/(batch|forget|search)",
    "sessions": "sessions",
    "namespaces": "namespaces",
    "feed": "changes$",
    "context": "context",
    "exchange": "(export|import)",
    "others": "(admin|jobs|openapi|stats)",
}
#: Where the service embeds by itself; in the others, it takes vectors of its callers.
EMBEDDING = ("everything", "many", "context", "others")
#: Half of the values are any that fit; the others are of what there is, so that more than refusals is seen.
CONFIGURATION = """
hooks = "{hooks}"

[dictionaries]
ids = {{ values = ["tea", "k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7", "k8", "k9"] }}
namespaces = {{ values = ["demo", "default", "spare"] }}
tags = {{ values = ['"1"', '"2"', '"3"', "*"] }}

[parameters]
"query.wait_seconds" = 0
"path.id" = {{ dictionary = "ids", probability = 0.7 }}
"path.name" = {{ dictionary = "namespaces", probability = 0.5 }}
"header.Memory-Namespace" = {{ dictionary = "namespaces", probability = 0.7 }}
"header.If-Match" = {{ dictionary = "tags", probability = 0.7 }}
"header.If-None-Match" = {{ dictionary = "tags", probability = 0.5 }}

# Ids that it saw deleted are struck off while it still draws: after a few, it believes that it has tried them all.
[[operations]]
include-method = "DELETE"
phases.fuzzing.extra-data-sources.responses = false
"""
PROGRAM = Path(sys.executable).parent / "schemathesis"
HOOKS = Path(__file__).parents[2] / "support" / "schemathesis_hooks.py"


@pytest.fixture
def asked(request: pytest.FixtureRequest, make_service: Callable[..., MemoryProcess], group: str) -> MemoryProcess:
    """A service with something in two of its namespaces."""
    address = request.getfixturevalue("memory_database") if STORE == "postgresql" else None
    one = make_service(embedder=EmbedderSettings(kind="hashing") if group in EMBEDDING else None, database_url=address)
    one.start()
    with httpx.Client(base_url=one.url + BASE, headers=authorization(one), timeout=30) as client:
        for namespace in ("demo", "default"):
            fill(client, {"memory-namespace": namespace})
    return one


def authorization(service: MemoryProcess) -> dict[str, str]:
    token = service.mint.token(scope="memory:read memory:write memory:admin", exp=int(time.time()) + 86_400)
    return {"authorization": f"Bearer {token}"}


def fill(client: httpx.Client, namespace: dict[str, str]) -> None:
    """Write memories of several kinds, and sessions."""
    for number, name in enumerate(("tea", *(f"k{number}" for number in range(20)))):
        memory = {"content": f"fact {number} of tea", "tags": ["0"], "data": {"n": number}, "pinned": number % 5 == 0}
        client.put(f"memories/{name}", json=memory, headers=namespace).raise_for_status()
        client.put(f"sessions/{name}/state", json={"data": {"cup": number}}, headers=namespace).raise_for_status()
    messages = [{"role": "user", "content": "tea, please"}, {"role": "assistant", "content": "there you are"}]
    client.post("sessions/tea/messages", json={"messages": messages}, headers=namespace).raise_for_status()


@pytest.mark.timeout(240 + 10 * EXAMPLES)
@pytest.mark.parametrize("group", [group for group in GROUPS if (group == "everything") != IS_LONG])
def test_every_answer_is_announced(
    asked: MemoryProcess, group: str, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    already = requests(httpx.get(f"{asked.url}/metrics").text)
    done = ask(asked, group, tmp_path, storage=pytestconfig.rootpath / ".hypothesis")
    metrics = httpx.get(f"{asked.url}/metrics").text
    sys.stdout.write(told(metrics))  # the counts, with -rP
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    assert 'status="5' not in metrics, [line for line in metrics.splitlines() if 'status="5' in line]
    counted = requests(metrics) - already
    assert {one: counted[one] for one in operations(GROUPS[group]) if counted[one] < EXAMPLES} == {}


def ask(service: MemoryProcess, group: str, folder: Path, *, storage: Path) -> "subprocess.CompletedProcess[str]":
    """Run schemathesis; `storage` keeps the tables of characters that it would make anew each time."""
    configuration = folder / "schemathesis.toml"
    configuration.write_text(CONFIGURATION.format(hooks=HOOKS))
    command = (
        *(str(PROGRAM), "--config-file", str(configuration), "run", f"{service.url}{BASE}openapi.json"),
        *("--header", f"Authorization: {authorization(service)['authorization']}", "--max-examples", str(EXAMPLES)),
        *("--phases", PHASES, "--checks", ",".join(CHECKS), "--seed", "1", "--no-color", "--request-timeout", "60"),
        *("--include-path-regex", f"^{BASE}{pattern(GROUPS[group])}", "--warnings", "off", "--continue-on-failure"),
        *(part for one in ENDLESS for part in ("--exclude-operation-id", one)),
        *("--workers", "1", "--generation-database", "none", "--suppress-health-check", "all"),
    )
    environment = {**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": str(storage)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def pattern(beginning: str) -> str:
    return beginning.replace("{", r"\{").replace("}", r"\}")


def operations(beginning: str) -> list[tuple[str, str]]:
    """The operations of a group that take anything: only of those there are many different requests."""
    return [
        (method.upper(), path)
        for path, item in document()["paths"].items()
        for method, one in item.items()
        if re.match(BASE + pattern(beginning), path) and one["operationId"] not in ENDLESS
        if one["parameters"] or "requestBody" in one
    ]


def requests(metrics: str) -> Counter[tuple[str, str]]:
    """How many requests each operation has answered, by method and route."""
    counted: Counter[tuple[str, str]] = Counter()
    for method, route, _status, count in _lines(metrics):
        counted[method, route] += count
    return counted


def told(metrics: str) -> str:
    """The same by status, for people."""
    lines = sorted((route, method, status, count) for method, route, status, count in _lines(metrics))
    return "".join(f"{method} {route} {status}: {count}\n" for route, method, status, count in lines)


def _lines(metrics: str) -> list[tuple[str, str, str, int]]:
    pattern = r'^ragrid_http_requests_total\{method="(\w+)",part="memory",route="([^"]+)",status="(\d+)"\} ([\d.e+]+)$'
    found = re.findall(pattern, metrics, re.MULTILINE)
    return [(method, route, status, int(float(count))) for method, route, status, count in found]
