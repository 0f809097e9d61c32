"""The control side: registry, token service, gateway controller (pure). The data path runs without any of them."""

import json

import msgspec

from ragrid.drivers.local.part import Part, Probe, Scrape
from ragrid.drivers.local.parts_services import python_part_command
from ragrid.drivers.local.site import SEEDED_CLIENTS, Site
from ragrid.spec.settings import ClientSeed, ControllerSettings, Listen, TokensSettings, dump_settings

#: The first version that calls `acl.tokens.master` by another name:
#: https://developer.hashicorp.com/consul/docs/upgrading/upgrade-specific
_TOKEN_RENAMED = (1, 11)


def registry_part(site: Site) -> Part:
    """Return the registry that this host runs."""
    return _etcd(site) if site.grid.registry.kind == "etcd" else _consul(site)


def tokens_part(site: Site) -> Part:
    """Return the token service."""
    auth = site.grid.auth
    settings = TokensSettings(
        listen=Listen(host=site.address, port=auth.port, tls=site.service_tls),
        issuer=site.grid.public_url,
        audiences=site.audiences,
        data_directory=site.layout.data / "tokens",
        access_token_s=auth.access_token.seconds,
        service_token_s=auth.service_token.seconds,
        key_rotation_s=auth.key_rotation.seconds,
        store=auth.store,
        database_url_file=site.database_url("tokens") if auth.store == "postgresql" else None,
        roles=site.roles,
        clients=tuple(
            ClientSeed(
                client_id=client, secret_file=site.secrets.client_secret(client), roles=(client,), tenant=auth.tenant
            )
            for client in SEEDED_CLIENTS
        ),
    )
    return Part(
        name="tokens",
        version=site.version,
        command=python_part_command(site, "ragrid.services.tokens", "etc/tokens.json"),
        ports=(site.port("auth.port", auth.port),),
        probe=Probe(f"{site.own_address(site.address, auth.port)}/readyz"),
        scrape=Scrape(site.address, auth.port, tls=site.client_tls),
        files={"etc/tokens.json": dump_settings(settings)},
        priority=20,
    )


def controller_part(site: Site) -> Part:
    """Return the process that feeds the gateway from the registry and the token service."""
    port = site.grid.gateway.controller_port
    hosts = sorted(site.grid.auth.on, key=lambda host: host != site.host)  # one on this host is asked first
    settings = ControllerSettings(
        registry=site.registry(),
        token_services=tuple(site.own_address(site.grid.address_of(host), site.grid.auth.port) for host in hosts),
        token_services_tls=site.client_tls or msgspec.UNSET,
        admin_socket=site.layout.run / "gateway-admin.sock",
        state_file=site.layout.data / "gateway" / "state.json",
        jwks_file=site.jwks_file,
        revocations_file=site.revocations_file,
        policy_file=site.layout.etc / "policy.json",
        listen=Listen(host=site.address, port=port),
    )
    return Part(
        name="controller",
        version=site.version,
        command=python_part_command(site, "ragrid.gateway.controller", "etc/controller.json"),
        ports=(site.port("gateway.controller_port", port),),
        probe=Probe(f"http://{site.address}:{port}/readyz"),
        scrape=Scrape(site.address, port),
        files={"etc/controller.json": dump_settings(settings), "etc/policy.json": policy_file(site)},
        priority=30,
    )


def policy_file(site: Site) -> bytes:
    """Return what each role allows, as the controller hands it to the gateway."""
    roles = {name: sorted(permissions) for name, permissions in site.roles.items()}
    return json.dumps({"roles": roles}, indent=2, sort_keys=True).encode() + b"\n"


def _etcd(site: Site) -> Part:
    registry, secrets = site.grid.registry, site.secrets
    client, peer = (f"https://{site.address}:{port}" for port in (registry.port, registry.peer_port))
    metrics = f"http://{site.address}:{registry.metrics_port}"
    members = ",".join(f"{name}=https://{site.grid.address_of(name)}:{registry.peer_port}" for name in registry.on)
    certificate, key, authority = secrets.certificate("etcd"), secrets.key("etcd"), secrets.authority_certificate
    return Part(
        name="etcd",
        version=site.programs.version("etcd"),
        command=(
            *(str(site.programs.etcd), "--name", site.host, "--data-dir", str(site.layout.data / "etcd")),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", members, "--initial-cluster-token", f"ragrid-{site.grid.grid}"),
            *("--cert-file", str(certificate), "--key-file", str(key), "--trusted-ca-file", str(authority)),
            *("--peer-cert-file", str(certificate), "--peer-key-file", str(key)),
            *("--peer-trusted-ca-file", str(authority), "--client-cert-auth", "--peer-client-cert-auth"),
            # Not `warn`: asked for client certificates, etcd 3.4 warns of every single call over its JSON gateway.
            *("--listen-metrics-urls", metrics, "--auto-compaction-retention", "1h", "--log-level", "error"),
        ),
        ports=(
            site.port("registry.port", registry.port),
            site.port("registry.peer_port", registry.peer_port),
            site.port("registry.metrics_port", registry.metrics_port),
        ),
        probe=Probe(f"{metrics}/health"),
        scrape=Scrape(site.address, registry.metrics_port),
        priority=10,
    )


def consul_acl(token: str, *, version: str) -> bytes:
    """Return the part of Consul's configuration that holds `token`, which alone may do anything."""
    numbers = tuple(int(number) for number in version.split(".")[:2] if number.isdecimal())
    all_mighty = "master" if numbers and numbers < _TOKEN_RENAMED else "initial_management"
    return json.dumps({"acl": {"tokens": {all_mighty: token, "agent": token}}}, indent=2).encode() + b"\n"


def _consul(site: Site) -> Part:
    """Return Consul: nobody without the token reads or writes anything; no DNS, no UI, no remote execution."""
    registry = site.grid.registry
    return Part(
        name="consul",
        version=site.programs.version("consul"),
        command=(
            *(str(site.programs.consul), "agent", "-config-file", str(site.layout.etc / "consul.json")),
            *("-config-file", str(site.secrets.consul_acl)),
        ),
        ports=(
            site.port("registry.port", registry.port),
            site.port("registry.peer_port", registry.peer_port),
            site.port("registry.gossip_port", registry.gossip_port),
        ),
        # Without a token it is answered with nothing, but only once there is a leader.
        probe=Probe(f"http://{site.address}:{registry.port}/v1/catalog/nodes"),
        scrape=Scrape(
            site.address, registry.port, "/v1/agent/metrics?format=prometheus", token_file=site.secrets.registry_token
        ),
        files={"etc/consul.json": _consul_configuration(site)},
        stop_signal="INT",  # leaves the cluster
        priority=10,
    )


def _consul_configuration(site: Site) -> bytes:
    registry = site.grid.registry
    servers = [site.grid.address_of(name) for name in registry.on]
    configuration = {
        "node_name": site.host,
        "server": True,
        "bootstrap_expect": len(servers),
        "retry_join": [f"{address}:{registry.gossip_port}" for address in servers if address != site.address],
        "data_dir": str(site.layout.data / "consul"),
        "bind_addr": site.address,
        "client_addr": site.address,
        "ports": {
            "http": registry.port,
            "server": registry.peer_port,
            "serf_lan": registry.gossip_port,
            "dns": -1,
            "grpc": -1,
            "serf_wan": -1,
        },
        "telemetry": {"prometheus_retention_time": "60s", "disable_hostname": True},
        "disable_update_check": True,
        "acl": {"enabled": True, "default_policy": "deny", "down_policy": "extend-cache"},
        "performance": {"raft_multiplier": 1},  # the default is for very small machines, and takes five times as long
        "log_level": "warn",
    }
    return json.dumps(configuration, indent=2, sort_keys=True).encode() + b"\n"
