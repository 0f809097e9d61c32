"""Grids that load, and what they mean."""

from ipaddress import IPv4Address
from pathlib import Path

import pytest
from pydantic import ValidationError

from ragrid.spec.load import LoadedGrid, load_grid, load_grid_text
from ragrid.spec.models import Grid
from ragrid.spec.show import effective_values

EXAMPLES = Path(__file__).parents[3] / "examples"
MINIMAL = "grid: x\nhosts: {one: {lan: 10.0.0.1}}\nservices:\n  chromadb:\n  memory:\n  rag:\n"


def load(text: str) -> Grid:
    return load_grid_text(text, "grid.yaml").grid


@pytest.fixture
def tron() -> LoadedGrid:
    return load_grid(EXAMPLES / "tron.yaml")


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.yaml")))
def test_every_example_loads(name: str) -> None:
    assert load_grid(EXAMPLES / name).grid.grid == name.removesuffix(".yaml")


def test_the_reference_grid_says_what_the_design_says(tron: LoadedGrid) -> None:
    grid = tron.grid
    assert list(grid.hosts) == ["sark", "clu"]
    assert grid.gateway.on == ("sark", "clu")
    assert grid.gateway.vip == IPv4Address("192.168.68.100")
    assert grid.registry.kind == "consul"
    assert grid.auth.service_token.seconds == 86_400
    assert grid.services.memory is not None
    assert grid.services.memory.on == ("clu", "sark")
    assert grid.services.vllm is not None
    assert (grid.services.vllm.head, grid.services.vllm.workers) == ("sark", ("clu",))
    assert grid.monitoring.slo.availability.ratio == pytest.approx(0.999)
    assert grid.monitoring.slo.throughput.per_second == 1000
    assert grid.backup is not None
    assert [(str(each.path), each.offsite) for each in grid.backup.repositories] == [
        ("/backup/borg", False),
        ("/offsite/borg", True),
    ]


def test_a_minimal_grid_is_placed_on_its_first_host() -> None:
    grid = load(MINIMAL)
    assert {grid.gateway.on, grid.registry.on, grid.auth.on, grid.monitoring.on} == {("one",)}
    assert [(name, service.on) for name, service in grid.services.named()] == [
        ("chromadb", ("one",)),
        ("memory", ("one",)),
        ("rag", ("one",)),
    ]


def test_a_service_runs_exactly_when_it_is_named() -> None:
    grid = load("grid: x\nhosts: {one: {lan: 10.0.0.1}}\nservices: {memory: {}}\n")
    assert [name for name, _ in grid.services.named()] == ["memory"]


def test_the_key_on_is_a_key_and_not_true() -> None:
    grid = load("grid: x\nhosts: {no: {lan: 10.0.0.1}, yes: {lan: 10.0.0.2}}\nservices: {memory: {on: [yes]}}\n")
    assert grid.services.memory is not None
    assert grid.services.memory.on == ("yes",)


def test_a_time_of_day_needs_no_quotes() -> None:
    grid = load(MINIMAL + "backup: {daily: 12:30, repositories: [/backup]}\n")
    assert grid.backup is not None
    assert (grid.backup.daily.hour, grid.backup.daily.minute) == (12, 30)


def test_an_empty_section_holds_its_defaults() -> None:
    assert load(MINIMAL + "auth:\ngateway:\nnetworks:\n") == load(MINIMAL)


@pytest.mark.parametrize(("kind", "ports"), [("etcd", (2379, 2380)), ("consul", (8500, 8300))])
def test_a_registry_has_the_ports_that_it_is_known_for(kind: str, ports: tuple[int, int]) -> None:
    registry = load(f"{MINIMAL}registry: {{kind: {kind}}}\n").registry
    assert (registry.port, registry.peer_port) == ports
    assert registry.executable == kind


def test_two_grids_can_run_side_by_side_since_every_port_is_a_key() -> None:
    text = MINIMAL.replace("chromadb:", "chromadb: {port: 18001}").replace("memory:", "memory: {port: 13000}")
    text = text.replace("rag:", "rag: {port: 13010}") + (
        "gateway: {http: 18080, https: 18443, metrics_port: 19145, controller_port: 19146}\n"
        "registry: {port: 12379, peer_port: 12380, metrics_port: 12381, gossip_port: 18301}\n"
        "auth: {port: 13020}\ndatabase: {port: 15432, metrics_port: 19187}\n"
        "agent: {port: 19200}\nmonitoring: {port: 19090, node_exporter_port: 19100}\n"
    )
    ports = [value for key, value, _ in effective_values(load_grid_text(text, "grid.yaml")) if _is_port(key)]
    assert all(isinstance(port, int) and port > 10_000 for port in ports)
    assert len(ports) == 17


def _is_port(key: str) -> bool:
    return key.rpartition(".")[2] in {"http", "https"} or key.endswith("port")


@pytest.mark.parametrize(
    ("gateway", "url"),
    [
        ("{}", "https://10.0.0.1"),
        ("{https: 8443}", "https://10.0.0.1:8443"),
        ("{vip: 10.0.0.100}", "https://10.0.0.100"),
        ("{vip: 10.0.0.100, name: rag.example.org}", "https://rag.example.org"),
        ("{name: '::1', https: 8443}", "https://[::1]:8443"),
    ],
)
def test_the_public_url_is_what_clients_type(gateway: str, url: str) -> None:
    assert load(f"{MINIMAL}gateway: {gateway}\n").public_url == url


def test_traffic_takes_the_network_of_its_purpose(tron: LoadedGrid) -> None:
    grid = tron.grid
    assert grid.address_of("sark", "users") == "192.168.68.69"
    assert grid.address_of("sark") == "192.168.100.69"
    assert grid.address_of("clu", "gpu") == "192.168.101.71"


def test_traffic_falls_back_to_the_network_that_a_host_has() -> None:
    grid = load(MINIMAL)
    assert {grid.address_of("one", purpose) for purpose in ("users", "services", "gpu")} == {"10.0.0.1"}


def test_traffic_follows_a_purpose_that_the_grid_declares() -> None:
    text = MINIMAL.replace("lan: 10.0.0.1", "lan: 10.0.0.1, connectx: 10.9.0.1")
    grid = load(text + "networks: {connectx: {cidr: 10.9.0.0/24, for: services}}\n")
    assert grid.address_of("one", "services") == "10.9.0.1"


def test_a_grid_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load(MINIMAL).gateway.https = 1


def test_a_model_name_defaults_to_the_model() -> None:
    services = "services: {vllm: {model: m/n, served_name: NAME}}"
    text = f"grid: x\nhosts: {{one: {{lan: 10.0.0.1}}}}\n{services}\n"
    named, unnamed = load(text).services.vllm, load(text.replace(", served_name: NAME", "")).services.vllm
    assert named is not None
    assert unnamed is not None
    assert (named.served_model, unnamed.served_model) == ("NAME", "m/n")
