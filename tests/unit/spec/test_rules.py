"""The rules between keys: each is shown by a bad file, and none fires for a good one."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from ragrid.errors import SpecError
from ragrid.spec.document import parse_document
from ragrid.spec.load import load_grid_text
from ragrid.spec.models import Grid
from ragrid.spec.rules import RULES

BAD = Path(__file__).parents[2] / "golden" / "spec" / "bad"
ONE_HOST = "grid: lab\nhosts: {sark: {lan: 10.0.0.1}}\n"


@cache
def bad_grids() -> list[Grid]:
    return [Grid.model_validate(parse_document(path.read_text()).value) for path in sorted(BAD.glob("rule-*.yaml"))]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_each_rule_is_broken_by_a_bad_file(rule: Callable[[Grid], object]) -> None:
    assert any(list(rule(grid)) for grid in bad_grids())  # type: ignore[call-overload] # an iterator


def test_equal_ports_on_different_hosts_are_fine() -> None:
    text = """
        grid: lab
        hosts: {sark: {lan: 10.0.0.1}, clu: {lan: 10.0.0.2}}
        services: {chromadb: {on: [sark], port: 3000}, memory: {on: [clu], port: 3000}}
    """
    assert load_grid_text(text, "grid.yaml").grid.services.memory is not None


def test_the_port_of_a_model_elsewhere_is_not_taken_here() -> None:
    text = ONE_HOST + "services: {memory: {port: 8000}, vllm: {address: 'http://10.0.0.9:8000/v1', served_name: m}}\n"
    assert load_grid_text(text, "grid.yaml").grid.services.vllm is not None


def test_consul_has_gossip_and_etcd_has_metrics() -> None:
    on_gossip = ONE_HOST + "services: {memory: {port: 8301}}\nregistry: {kind: KIND}\n"
    load_grid_text(on_gossip.replace("KIND", "etcd"), "grid.yaml")
    with pytest.raises(SpecError, match="gossip_port"):
        load_grid_text(on_gossip.replace("KIND", "consul"), "grid.yaml")
    on_metrics = on_gossip.replace("8301", "2381")
    load_grid_text(on_metrics.replace("KIND", "consul"), "grid.yaml")
    with pytest.raises(SpecError, match=r"registry\.metrics_port"):
        load_grid_text(on_metrics.replace("KIND", "etcd"), "grid.yaml")


def test_a_conflict_that_depends_on_an_unreadable_key_is_not_told() -> None:
    """The port of memory is misspelt, so its default says nothing about what was wanted."""
    text = ONE_HOST + "services: {chromadb: {port: 3000}, memory: {prot: 3005}}\n"
    with pytest.raises(SpecError) as caught:
        load_grid_text(text, "grid.yaml")
    assert [fault.split(": ")[1] for fault in caught.value.faults] == ["services.memory.prot"]


def test_a_conflict_beside_an_unreadable_key_is_told() -> None:
    text = ONE_HOST + "services: {chromadb: {port: 3000, balance: best}, memory: {}}\nauth: {port: x}\n"
    with pytest.raises(SpecError) as caught:
        load_grid_text(text, "grid.yaml")
    assert [fault.split(": ")[1] for fault in caught.value.faults] == [
        "services.memory.port", "services.chromadb.balance", "auth.port",
    ]  # fmt: skip
