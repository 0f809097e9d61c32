"""What the grid says of weights and slow start arrives where requests are spread."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from ragrid.drivers.local.layout import Layout
from ragrid.drivers.local.parts_gateway import gateway_config
from ragrid.drivers.local.parts_watch import watched_instances
from ragrid.drivers.local.site import Programs, Site
from ragrid.gateway.state import endpoints_of
from ragrid.registry.protocol import Instance
from ragrid.spec.load import load_grid_text

GRID = """\
grid: lab
hosts:
  sark: {lan: 192.168.68.69}
  clu: {lan: 192.168.68.71}
services:
  chromadb: {on: [sark, clu], weights: {clu: 3}, slow_start: 2m}
  memory: {on: [sark, clu], store: postgresql, weights: {sark: 1, clu: 1000}}
  rag: {on: [sark, clu], weights: {sark: 2, clu: 4}}
"""
PATHS: dict[str, Any] = {one.name: Path("/opt") / one.name for one in fields(Programs) if one.name != "versions"}
PROGRAMS = Programs(**PATHS)


def site(host: str) -> Site:
    grid = load_grid_text(GRID, "grid.yaml").grid
    return Site(grid=grid, host=host, layout=Layout(Path("/srv/lab")), programs=PROGRAMS, version="1")


def test_the_weight_of_a_host_is_what_its_agent_registers() -> None:
    weights = {one.instance_id: one.weight for host in ("sark", "clu") for one in watched_instances(site(host))}
    assert weights == {
        "chromadb-sark": 1,
        "chromadb-clu": 3,
        "memory-sark": 1,
        "memory-clu": 1000,
        "rag-sark": 2,
        "rag-clu": 4,
        "tokens-sark": 1,
    }


def test_what_is_registered_is_in_the_state_that_the_gateway_gets() -> None:
    instances = [Instance("memory", f"memory-{weight}", "10.0.0.1", 3000, weight=weight) for weight in (1, 3, 1000)]
    assert {one.id: one.weight for one in endpoints_of("memory", instances)} == {
        "memory-1": 1,
        "memory-3": 3,
        "memory-1000": 1000,
    }


def test_slow_start_is_in_the_rendered_edge() -> None:
    slow = {one.name: one.slow_start_s for one in gateway_config(site("sark")).services}
    assert slow == {"chromadb": 120.0, "memory": 10.0, "rag": 10.0, "tokens": 10.0}
