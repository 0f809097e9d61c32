"""The gateway (pure): nginx with the edge's own Lua."""

import re
from importlib import resources
from pathlib import Path

from ragrid.drivers.local.part import Part, Port, Probe, Reload, Scrape
from ragrid.drivers.local.site import SERVICE_NAME, Site
from ragrid.gateway.config import EdgeService, GatewayConfig, Limits, MutualTls, Tls
from ragrid.gateway.render import render_nginx
from ragrid.spec import services as declared
from ragrid.spec.settings import ClientTls

_INSTANCE_UP = re.compile(r'^gateway_instance_up\{service="([^"]+)",[^}]*\} 1$', re.MULTILINE)


def gateway_part(site: Site) -> Part:
    """Return nginx as the edge of this grid."""
    gateway = site.grid.gateway
    directory = site.layout.etc / "gateway"
    public = str(site.grid.hosts[site.host].lan)
    config = gateway_config(site)
    return Part(
        name="gateway",
        version=site.programs.version("nginx"),
        command=(str(site.programs.python), "-m", "ragrid.gateway.launch", str(directory)),
        ports=(
            Port("gateway.https", public, gateway.https),
            Port("gateway.http", public, gateway.http),
            site.port("gateway.metrics_port", gateway.metrics_port),
        ),
        probe=Probe(_probe_url(site)),
        scrape=Scrape(site.address, gateway.metrics_port),
        files={f"etc/gateway/{name}": content for name, content in render_nginx(config).items()},
        stop_signal="QUIT",  # finishes what it has
        stop_wait_s=15.0,
        priority=30,
        reload=Reload(
            directory="etc/gateway",
            check=(str(site.programs.nginx), "-t", "-c", "nginx.conf", "-e", "stderr", "-p"),
            page=f"http://{_host(site.address)}:{gateway.metrics_port}/metrics",
            metric="gateway_config_loaded_timestamp_seconds",
            watched=(*_certificates(config), config.lua_directory),
            outcome=config.reload_outcome,
        ),
    )


def _certificates(config: GatewayConfig) -> tuple[Path, ...]:
    return tuple(tls.certificate_file for tls in (config.tls, config.mutual_tls) if tls)


def gateway_config(site: Site) -> GatewayConfig:
    """Return what the edge of this grid is rendered from."""
    gateway, secrets = site.grid.gateway, site.secrets
    services = (
        EdgeService(
            name=name,
            balance=service.balance,
            limits=_limits(service.limits),
            slow_start_s=service.slow_start.seconds,
        )
        for name, service in site.grid.services.named()
    )
    return GatewayConfig(
        issuer=site.grid.public_url,
        server_name=gateway.name,
        listen_addresses=(str(site.grid.hosts[site.host].lan),),
        http_port=gateway.http,
        https_port=gateway.https,
        tls=Tls(
            certificate_file=secrets.certificate(site.gateway_certificate),
            key_file=secrets.key(site.gateway_certificate),
        ),
        metrics_host=site.address,
        metrics_port=gateway.metrics_port,
        run_directory=site.layout.run / "gateway",
        log_directory=site.layout.log,
        lua_directory=lua_directory(),
        admin_socket=site.layout.run / "gateway-admin.sock",
        state_file=site.layout.data / "gateway" / "state.json",
        user="root" if site.as_root else None,
        state_age_limit_s=gateway.admin_closes_after.seconds,
        mutual_tls=_mutual_tls(site.client_tls),
        services=(*services, EdgeService(name="tokens")),
    )


def _mutual_tls(tls: ClientTls | None) -> MutualTls | None:
    if tls is None:
        return None
    return MutualTls(
        certificate_file=tls.certificate_file,
        key_file=tls.key_file,
        authority_file=tls.authority_file,
        server_name=SERVICE_NAME,
    )


def _limits(limits: declared.Limits) -> Limits:
    quota = limits.tokens_per_minute if isinstance(limits, declared.ModelLimits) else None
    return Limits(requests_per_s=limits.rate, burst=limits.burst, concurrent=limits.concurrent, tokens_per_minute=quota)


def _probe_url(site: Site) -> str:
    """Through the public door; a user's own certificate may not hold its address, so then through the private one."""
    gateway = site.grid.gateway
    if gateway.tls.mode == "internal-ca":
        return f"https://{site.grid.hosts[site.host].lan}:{gateway.https}/health"
    return f"http://{_host(site.address)}:{gateway.metrics_port}/healthz"


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def routed_services(metrics: str) -> frozenset[str]:
    """Return the services that the edge sends requests to, as its metrics page says."""
    return frozenset(_INSTANCE_UP.findall(metrics))


def lua_directory() -> Path:
    """Return where the edge's Lua files were installed."""
    return Path(str(resources.files("ragrid.gateway") / "lua"))
