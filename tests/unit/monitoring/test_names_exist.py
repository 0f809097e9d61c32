"""The list of names, held against the code that exports them: a rule about a name that nobody exports never fires."""

from collections.abc import Iterable
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest

from ragrid.agent.metrics import AgentMetrics
from ragrid.errors import UnreachableError
from ragrid.identity.open import REVOCATIONS_AGE
from ragrid.monitoring import names
from ragrid.services.database.monitor import FIGURES, Page, Seen
from ragrid.services.memory import metrics as memory_metrics
from ragrid.web.metrics import RequestMetrics

LUA = Path(__file__).parents[3] / "src" / "ragrid" / "gateway" / "lua"


def families(registry: CollectorRegistry) -> set[str]:
    """The names that a registry exports."""
    lines = generate_latest(registry).decode().splitlines()
    return {line.split()[2] for line in lines if line.startswith("# TYPE ")}


def missing(wanted: Iterable[str], exported: set[str]) -> set[str]:
    return {name for name in wanted if name not in exported}


def test_the_gateway_exports_what_is_asked_of_it() -> None:
    source = "".join(path.read_text() for path in sorted(LUA.glob("*.lua")))
    assert [name for name in names.GATEWAY if f'"{name}"' not in source] == []
    assert 'status="%s"' in source  # the label that the error rules choose by


def test_the_agent_exports_what_is_asked_of_it() -> None:
    assert missing(names.AGENT, families(AgentMetrics().registry)) == set()


def test_the_database_exports_what_is_asked_of_it() -> None:
    columns = dict.fromkeys(FIGURES, 1)
    seen = Seen(True, "15.18", 200, 0.0, ({"datname": "memory", **columns},))
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Page(seen))
    assert missing(names.DATABASE, families(registry)) == set()
    away = CollectorRegistry(auto_describe=False)
    away.register(Page(UnreachableError("no answer")))
    assert families(away) == {names.DATABASE_UP}


def test_verifiers_export_what_is_asked_of_them() -> None:
    registry = CollectorRegistry()
    registry.register(REVOCATIONS_AGE)
    assert missing(names.VERIFIERS, families(registry)) == set()


def test_memory_exports_what_is_asked_of_it() -> None:
    assert memory_metrics.ROWS is not None  # imported for what it registers
    exported = families(REGISTRY)
    assert missing((*names.MEMORY, *names.PROCESS), exported) == set()
    own = {one for one in exported if one.startswith("memory_")}
    assert own - set(names.MEMORY) == set(), "in no list, so on no page"


def test_services_export_what_is_asked_of_them() -> None:
    metrics = RequestMetrics("memory")
    metrics.observe("GET", "/memory/v1/memories", 200, 0.01)
    assert missing(names.SERVICES, families(metrics.registry)) == set()
