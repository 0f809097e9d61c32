"""From a grid to the parts of one host (pure): the order is the order of dependence."""

from collections.abc import Iterator
from dataclasses import replace

from ragrid.drivers.local.part import Part
from ragrid.drivers.local.parts_control import controller_part, registry_part, tokens_part
from ragrid.drivers.local.parts_database import database_part
from ragrid.drivers.local.parts_gateway import gateway_part
from ragrid.drivers.local.parts_services import service_parts
from ragrid.drivers.local.parts_watch import agent_part, node_exporter_part, prometheus_part, scrape_target
from ragrid.drivers.local.site import Site


def parts_of(site: Site, *, supervisor_command: tuple[str, ...] = ()) -> tuple[Part, ...]:
    """Return every part that runs on this host."""
    own = tuple(_without_prometheus(site, supervisor_command))
    if not site.runs(site.grid.monitoring.on):
        return own
    targets = [
        scrape_target(there, part)
        for there in (replace(site, host=host) for host in site.grid.hosts)
        for part in _without_prometheus(there, ())
    ]
    return (*own, prometheus_part(site, targets))


def _without_prometheus(site: Site, supervisor_command: tuple[str, ...]) -> Iterator[Part]:
    if site.runs(site.grid.registry.on):
        yield registry_part(site)
    if site.grid.runs_database and site.runs(site.grid.database.on):
        yield database_part(site)
    if site.runs(site.grid.auth.on):
        yield tokens_part(site)
    yield from service_parts(site)
    if site.runs(site.grid.gateway.on):
        yield gateway_part(site)
        yield controller_part(site)
    yield agent_part(site, supervisor_command)
    yield node_exporter_part(site)
