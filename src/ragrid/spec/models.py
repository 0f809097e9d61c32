"""The declared grid: everything that `grid.yaml` may say, each default written once."""

from typing import Any

from pydantic import Field, model_validator

from ragrid.spec import kinds
from ragrid.spec.edge import Agent, Auth, Gateway, Registry, Tls
from ragrid.spec.hosts import USUAL_PURPOSES, Host, Network, Networks, Purpose
from ragrid.spec.operations import Alerts, Backup, Monitoring, Notify, Objectives, Repository, Welcome
from ragrid.spec.section import Section
from ragrid.spec.services import (
    Balance,
    Chromadb,
    Embedder,
    Generator,
    Memory,
    Rag,
    Service,
    ServiceName,
    Services,
    Vllm,
)
from ragrid.spec.storage import Database

#: Where an address is looked for when a host is not on the network of that purpose.
_FALLBACKS: dict[Purpose, tuple[Purpose, ...]] = {
    "users": ("users",),
    "services": ("services", "users"),
    "gpu": ("gpu", "services", "users"),
}


class Grid(Section):
    """One RAG platform on your own servers. Placement is filled in: every `on` names at least one host."""

    grid: kinds.GridName = Field(description="The grid's name.")
    hosts: dict[kinds.HostName, Host] = Field(
        min_length=1, description="The machines, by name; the first one runs what is not placed."
    )
    networks: Networks = Field(default_factory=Networks, description="The networks that join the hosts.")
    gateway: Gateway = Field(default_factory=Gateway, description="The one door.")
    registry: Registry = Field(default_factory=Registry, description="Where instances are found.")
    auth: Auth = Field(default_factory=Auth, description="Tokens.")
    agent: Agent = Field(default_factory=Agent, description="The agent on each host.")
    database: Database = Field(default_factory=Database, description="PostgreSQL, where a `store` asks for it.")
    services: Services = Field(description="What the grid serves.")
    monitoring: Monitoring = Field(default_factory=Monitoring, description="How it is watched.")
    backup: Backup | None = Field(default=None, description="How it is kept; without it nothing is backed up.")
    welcome: Welcome | None = Field(default=None, description="What `ragrid up` shows at its end.")

    @model_validator(mode="before")
    @classmethod
    def _fill_placement(cls, value: Any) -> Any:
        return _placed(value) if isinstance(value, dict) else value

    @property
    def needs_database(self) -> bool:
        """Whether something is kept in PostgreSQL."""
        memory = self.services.memory
        return self.auth.store == "postgresql" or (memory is not None and memory.store == "postgresql")

    @property
    def runs_database(self) -> bool:
        """Whether a PostgreSQL of the grid's own is needed."""
        return self.needs_database and self.database.url is None

    @property
    def public_url(self) -> str:
        """The gateway's address as clients type it; also the issuer of the grid's tokens."""
        name = f"[{self.gateway.name}]" if ":" in self.gateway.name else self.gateway.name
        return f"https://{name}" if self.gateway.https == 443 else f"https://{name}:{self.gateway.https}"

    def address_of(self, host: str, purpose: Purpose = "services") -> str:
        """Return the address of `host` for traffic of this purpose, falling back to slower networks.

        Raises KeyError for a host that the grid does not know.
        """
        machine = self.hosts[host]
        found: dict[Purpose, str] = {}
        for name, usual in USUAL_PURPOSES.items():
            network, address = getattr(self.networks, name), getattr(machine, name)
            if address is not None:
                found.setdefault(usual if network is None else network.purpose, str(address))
        return next((found[each] for each in _FALLBACKS[purpose] if each in found), str(machine.lan))


def _placed(value: dict[str, Any]) -> dict[str, Any]:
    """Return the raw grid with placement filled in where the file says nothing; faulty sections are left alone."""
    hosts = value.get("hosts")
    if not isinstance(hosts, dict) or not hosts:
        return value
    first = next(iter(hosts))
    placed = ("registry", "auth", "database", "monitoring")
    value = value | {name: _filled(value.get(name), {"on": [first]}) for name in placed}
    value["gateway"] = _filled(value.get("gateway"), {"on": [first]})
    if isinstance(value["gateway"], dict):
        value["gateway"] = _gateway_name(value["gateway"], hosts) | value["gateway"]
    if isinstance(value.get("services"), dict):
        value["services"] = {
            name: _filled(service, {"head": first} if name == "vllm" else {"on": [first]})
            for name, service in value["services"].items()
        }
    return value


def _filled(section: Any, defaults: dict[str, Any]) -> Any:
    if section is None:
        return defaults
    return defaults | section if isinstance(section, dict) else section


def _gateway_name(gateway: dict[str, Any], hosts: dict[str, Any]) -> dict[str, Any]:
    on = gateway["on"]
    first = on[0] if isinstance(on, list | tuple) and on and isinstance(on[0], str) else None
    host = hosts.get(first) if first is not None else None
    lan = host.get("lan") if isinstance(host, dict) else getattr(host, "lan", None)
    name = gateway.get("vip") or lan
    return {} if name is None else {"name": str(name)}


__all__ = [
    "Agent",
    "Alerts",
    "Auth",
    "Backup",
    "Balance",
    "Chromadb",
    "Database",
    "Embedder",
    "Gateway",
    "Generator",
    "Grid",
    "Host",
    "Memory",
    "Monitoring",
    "Network",
    "Networks",
    "Notify",
    "Objectives",
    "Purpose",
    "Rag",
    "Registry",
    "Repository",
    "Service",
    "ServiceName",
    "Services",
    "Tls",
    "Vllm",
    "Welcome",
]
