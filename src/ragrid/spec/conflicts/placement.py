"""Where everything runs: hosts, ports, addresses, weights."""

from collections.abc import Iterator

from ragrid.spec.conflicts.conflict import Conflict
from ragrid.spec.faults import Path, shown, written
from ragrid.spec.hosts import USUAL_PURPOSES
from ragrid.spec.models import Grid
from ragrid.spec.outline import alternatives


def something_is_served(grid: Grid) -> Iterator[Conflict]:
    """A grid runs at least one service."""
    if not any(grid.services.named()):
        yield Conflict(("services",), "no service", "at least one", "add `chromadb: {}`, `memory: {}` and `rag: {}`")


def hosts_are_known(grid: Grid) -> Iterator[Conflict]:
    """Everything is placed on hosts that the grid declares, once on each."""
    known = alternatives(tuple(grid.hosts))
    for path, names in _placements(grid):
        for position, name in enumerate(names):
            if name not in grid.hosts:
                advice = f"add {name} to `hosts`, or place it on a host that is there"
                yield Conflict((*path, position), shown(name), f"one of the hosts {known}", advice, (("hosts",),))
            elif name in names[:position]:
                yield Conflict((*path, position), f"{name!r} twice", "each host once", "delete one of the two")
    vllm = grid.services.vllm
    if vllm is not None and vllm.head not in grid.hosts:
        advice = f"add {vllm.head} to `hosts`, or choose a host that is there"
        head: Path = ("services", "vllm", "head")
        yield Conflict(head, shown(vllm.head), f"one of the hosts {known}", advice, (("hosts",),))


def _placements(grid: Grid) -> Iterator[tuple[Path, tuple[str, ...]]]:
    yield ("gateway", "on"), grid.gateway.on
    yield ("registry", "on"), grid.registry.on
    yield ("auth", "on"), grid.auth.on
    yield ("database", "on"), grid.database.on
    yield ("monitoring", "on"), grid.monitoring.on
    for name, service in grid.services.named():
        if name != "vllm":
            yield ("services", name, "on"), service.on
    if grid.services.vllm is not None:
        yield ("services", "vllm", "workers"), grid.services.vllm.workers


def ports_are_distinct(grid: Grid) -> Iterator[Conflict]:
    """No two parts listen on the same port of a host."""
    taken: dict[tuple[str, int], Path] = {}
    told: set[tuple[Path, Path]] = set()
    for hosts, path, port in _ports(grid):
        for host in hosts:
            other = taken.setdefault((host, port), path)
            if other != path and (path, other) not in told:
                told.add((path, other))
                wanted = f"a port of its own on host {host!r}, where `{written(other)}` has it"
                yield Conflict(path, str(port), wanted, "change one of the two", (other,))


def _ports(grid: Grid) -> Iterator[tuple[tuple[str, ...], Path, int]]:
    every = tuple(grid.hosts)
    for key in ("http", "https", "metrics_port", "controller_port"):
        yield grid.gateway.on, ("gateway", key), getattr(grid.gateway, key)
    own = ("metrics_port",) if grid.registry.kind == "etcd" else ("gossip_port",)
    for key in ("port", "peer_port", *own):
        yield grid.registry.on, ("registry", key), getattr(grid.registry, key)
    yield grid.auth.on, ("auth", "port"), grid.auth.port
    if grid.runs_database:
        for key in ("port", "metrics_port"):
            yield grid.database.on, ("database", key), getattr(grid.database, key)
    yield every, ("agent", "port"), grid.agent.port
    for name, service in grid.services.named():
        if name != "vllm" or (grid.services.vllm is not None and grid.services.vllm.address is None):
            yield service.on, ("services", name, "port"), service.port
    yield grid.monitoring.on, ("monitoring", "port"), grid.monitoring.port
    yield every, ("monitoring", "node_exporter_port"), grid.monitoring.node_exporter_port


def addresses_are_in_their_networks(grid: Grid) -> Iterator[Conflict]:
    """Each host's address lies in the network of that name, and no two hosts share one."""
    seen: dict[tuple[str, object], str] = {}
    for host_name, host in grid.hosts.items():
        for network_name in USUAL_PURPOSES:
            address, network = getattr(host, network_name), getattr(grid.networks, network_name)
            if address is None:
                continue
            path: Path = ("hosts", host_name, network_name)
            if network is not None and address not in network.cidr:
                cidr: Path = ("networks", network_name, "cidr")
                yield Conflict(
                    path, f"'{address}'", f"an address in {network.cidr}", f"change it, or `{written(cidr)}`", (cidr,)
                )
            other = seen.setdefault((network_name, address), host_name)
            if other != host_name:
                first: Path = ("hosts", other, network_name)
                wanted = f"an address of its own; `{written(first)}` has this one"
                yield Conflict(path, f"'{address}'", wanted, "change one of the two", (first,))


def weights_are_of_its_hosts(grid: Grid) -> Iterator[Conflict]:
    """A weight is given to a host that runs the service."""
    services = grid.services
    for name, service in (("chromadb", services.chromadb), ("memory", services.memory), ("rag", services.rag)):
        if service is None:
            continue
        on: Path = ("services", name, "on")
        for host in (host for host in service.weights if host not in service.on):
            wanted = f"one of the hosts that run it: {alternatives(service.on)}"
            advice = f"delete it, or add it to `{written(on)}`"
            yield Conflict(("services", name, "weights", host), shown(host), wanted, advice, (on,))
