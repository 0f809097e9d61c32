"""How a grid is entered and found: gateway, registry, tokens, agent."""

from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, model_validator

from ragrid.spec import kinds
from ragrid.spec.section import NotYet, Section
from ragrid.spec.values import Duration

#: The ports and the program that each registry is known for: https://etcd.io/docs/v3.4/op-guide/configuration/ and
#: https://developer.hashicorp.com/consul/docs/install/ports
_USUAL = {
    "etcd": {"port": 2379, "peer_port": 2380, "executable": "etcd"},
    "consul": {"port": 8500, "peer_port": 8300, "executable": "consul"},
}


class Tls(Section):
    """Where the gateway's certificate comes from."""

    mode: Literal["internal-ca", "files"] = Field(
        default="internal-ca",
        description="`internal-ca`: a certificate authority that belongs to this grid alone. `files`: a certificate of "
        "your own; after renewing it run `ragrid up`, which reloads it without losing a request.",
    )
    certificate: kinds.AbsolutePath | None = Field(
        default=None, description="`files`: the certificate and what it needs up to the authority, PEM, in this order."
    )
    key: kinds.AbsolutePath | None = Field(default=None, description="`files`: its private key, PEM, no passphrase.")
    authority: kinds.AbsolutePath | None = Field(
        default=None,
        description="`files`: authority that the grid's own parts and commands trust, PEM. "
        "Default: those that this machine trusts.",
    )


class Gateway(Section):
    """The one door: TLS, tokens, limits, balancing."""

    on: tuple[kinds.HostName, ...] = Field(
        default=(), min_length=1, description="Hosts that run it. Default: the first host."
    )
    name: kinds.PublicName = Field(
        default="",
        description="The name or address that clients use, also in the certificate and in tokens. "
        "Default: `vip`, else the `lan` address of the first host that runs it.",
    )
    http: kinds.Port = Field(default=80, description="Port that redirects to HTTPS.")
    https: kinds.Port = Field(default=443, description="Port that serves everything.")
    metrics_port: kinds.Port = Field(default=9145, description="Private port with nginx's own metrics.")
    controller_port: kinds.Port = Field(default=9146, description="Private port of the gateway's controller.")
    vip: Annotated[kinds.Address | None, NotYet("nothing moves it yet")] = Field(
        default=None, description="Address that moves to another host when the one that has it dies."
    )
    tls: Tls = Field(default_factory=Tls, description="Where its certificate comes from.")
    mutual_tls: StrictBool = Field(
        default=False,
        description="Whether memory, rag and tokens speak TLS on their private ports and answer only who has a "
        "certificate of the grid's own authority: the gateway and what watches over them.",
    )
    admin_closes_after: kinds.Duration = Field(
        default=Duration.parse("1m"),
        description="Administration through the gateway closes when its controller, which knows what was revoked, "
        "has been silent for so long.",
    )


class Registry(Section):
    """Where instances are registered and found."""

    kind: Literal["etcd", "consul"] = Field(default="etcd", description="Which registry runs.")
    on: tuple[kinds.HostName, ...] = Field(
        default=(), min_length=1, description="Hosts that run it. Default: the first host."
    )
    port: kinds.Port = Field(default=2379, description="Port for clients. Default: 2379 for etcd, 8500 for Consul.")
    peer_port: kinds.Port = Field(
        default=2380, description="Port between its servers. Default: 2380 for etcd, 8300 for Consul."
    )
    gossip_port: kinds.Port = Field(default=8301, description="Port of Consul's gossip; etcd has none.")
    metrics_port: kinds.Port = Field(
        default=2381, description="Port of etcd's metrics; Consul serves its metrics on `port`."
    )
    executable: kinds.Line = Field(
        default="etcd", description="The program: a name on PATH, or a path. Default: `etcd` or `consul`."
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_usual(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        kind = value.get("kind", "etcd")
        return (_USUAL.get(kind, {}) if isinstance(kind, str) else {}) | value


class Auth(Section):
    """Tokens: who may do what, and for how long."""

    on: tuple[kinds.HostName, ...] = Field(
        default=(), min_length=1, description="Hosts that run the token service. Default: the first host."
    )
    port: kinds.Port = Field(default=3020, description="Private port of the token service.")
    store: Literal["sqlite", "postgresql"] = Field(
        default="sqlite", description="`sqlite` for one host; `postgresql` is needed for several."
    )
    access_token: kinds.Duration = Field(
        default=Duration.parse("10m"), description="How long a person's or client's token lives."
    )
    service_token: kinds.Duration = Field(
        default=Duration.parse("24h"), description="How long the token of a `-service` role lives."
    )
    key_rotation: kinds.Duration = Field(
        default=Duration.parse("24h"), description="How often the signing key changes; no token may live longer."
    )
    tenant: kinds.TenantName = Field(
        default="default_tenant", description="Tenant of clients that name none; Chroma's own default."
    )
    roles: dict[kinds.RoleName, tuple[kinds.Permission, ...]] = Field(
        default_factory=dict, description="Roles of your own, beside the built-in ones: name to `service:action`."
    )


class Agent(Section):
    """The agent, one on each host: checks instances and registers those that work."""

    port: kinds.Port = Field(default=9200, description="Private port of its metrics.")
