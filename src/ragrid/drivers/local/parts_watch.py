"""What watches: the agent, Prometheus, the node exporter (pure)."""

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from ragrid.drivers.local.part import Part, Probe, Scrape
from ragrid.drivers.local.parts_relay import UPSTREAM_PATH
from ragrid.drivers.local.parts_services import CHROMADB_VERSION, python_part_command
from ragrid.drivers.local.site import Site
from ragrid.monitoring.grafana import render_dashboard, render_provisioning
from ragrid.monitoring.memory_dashboard import memory_dashboard
from ragrid.monitoring.prometheus import (
    PrometheusConfig,
    ScrapeTarget,
    node_exporter_command,
    prometheus_command,
    render_prometheus,
)
from ragrid.monitoring.settings import Objective, RuleSettings, Thresholds
from ragrid.spec.settings import AgentSettings, Check, Listen, RestartRules, WatchedInstance, dump_settings

#: Parts that the agent starts again: each keeps its state on disk, and starts within seconds. Our own say what they
#: lack, so only their silence counts.
_RESTARTED = {
    "chromadb": RestartRules(part="chromadb"),
    **{name: RestartRules(part=name, only_silent=True) for name in ("memory", "rag", "tokens")},
}


#: Those that may want a certificate of who looks at them.
_OWN = frozenset(("memory", "rag", "tokens"))


def agent_part(site: Site, supervisor_command: tuple[str, ...]) -> Part:
    """Return this host's agent."""
    port = site.grid.agent.port
    settings = AgentSettings(
        host_name=site.host,
        registry=site.registry(),
        listen=Listen(host=site.address, port=port),
        instances=tuple(watched_instances(site)),
        status_file=site.layout.run / "agent-status.json",
        log_directory=site.layout.log,
        certificates=tuple(site.secrets.certificate(name) for name in site.certificates),
        supervisor_command=supervisor_command,
        supervisor_socket=site.layout.supervisor_socket,
    )
    return Part(
        name="agent",
        version=site.version,
        command=python_part_command(site, "ragrid.agent", "etc/agent.json"),
        ports=(site.port("agent.port", port),),
        probe=Probe(f"http://{site.address}:{port}/readyz"),
        scrape=Scrape(site.address, port),
        files={"etc/agent.json": dump_settings(settings)},
        priority=40,
    )


def watched_instances(site: Site) -> Iterator[WatchedInstance]:
    """Yield every instance of this host that the gateway may send requests to."""
    services = site.grid.services
    ready = Check(kind="http", path="/readyz")
    if site.runs(site.grid.auth.on):
        yield _watched(site, "tokens", site.grid.auth.port, site.version, ready)
    if services.chromadb and site.runs(services.chromadb.on):
        instance = _watched(site, "chromadb", services.chromadb.port, CHROMADB_VERSION, Check(kind="chroma"))
        yield replace(instance, weight=services.chromadb.weights.get(site.host, 1))
    if services.memory and site.runs(services.memory.on):
        instance = _watched(site, "memory", services.memory.port, site.version, ready)
        yield replace(instance, weight=services.memory.weights.get(site.host, 1))
    if services.rag and site.runs(services.rag.on):
        instance = _watched(site, "rag", services.rag.port, site.version, ready)
        yield replace(instance, weight=services.rag.weights.get(site.host, 1))
    if services.vllm and services.vllm.model and site.runs(services.vllm.on):
        check = Check(kind="completion", model=services.vllm.served_model, timeout_s=10.0)
        # A model is read for minutes, and a restart costs every answer under way.
        patience = RestartRules(part="vllm", after_s=60.0, start_s=1800.0)
        yield replace(_watched(site, "vllm", services.vllm.port, "", check), restart=patience)
    if services.vllm and services.vllm.address and site.runs(services.vllm.on):
        health = Check(
            kind="http", path=UPSTREAM_PATH, interval_s=10.0, timeout_s=5.0
        )  # somebody pays for a completion
        yield _watched(site, "vllm", services.vllm.port, "", health)


def _watched(site: Site, service: str, port: int, version: str, check: Check) -> WatchedInstance:
    tls = site.client_tls if service in _OWN else None
    return WatchedInstance(
        scheme="https" if tls else "http",
        ca_file=tls.authority_file if tls else None,
        certificate_file=tls.certificate_file if tls else None,
        key_file=tls.key_file if tls else None,
        service=service,
        instance_id=f"{service}-{site.host}",
        host=site.address,
        port=port,
        version=version,
        check=check,
        restart=_RESTARTED.get(service),
    )


def node_exporter_part(site: Site) -> Part:
    """Return this host's node exporter."""
    port = site.grid.monitoring.node_exporter_port
    return Part(
        name="node-exporter",
        version=site.programs.version("prometheus-node-exporter"),
        command=node_exporter_command(site.address, port, program=str(site.programs.node_exporter)),
        ports=(site.port("monitoring.node_exporter_port", port),),
        probe=Probe(f"http://{site.address}:{port}/metrics"),
        scrape=Scrape(site.address, port),
        priority=50,
    )


def prometheus_part(site: Site, targets: Sequence[ScrapeTarget]) -> Part:
    """Return Prometheus, which scrapes `targets` and itself."""
    monitoring = site.grid.monitoring
    own = ScrapeTarget(part="prometheus", host=site.address, port=monitoring.port)
    config = PrometheusConfig(
        grid=site.grid.grid,
        listen_host=site.address,
        listen_port=monitoring.port,
        config_file=site.layout.etc / "prometheus" / "prometheus.yml",
        data_directory=site.layout.data / "prometheus",
        targets=(*targets, own),
        scrape_interval_s=monitoring.scrape_interval.seconds,
        rules=_rules(site),
    )
    return Part(
        name="prometheus",
        version=site.programs.version("prometheus"),
        command=prometheus_command(config, program=str(site.programs.prometheus)),
        ports=(site.port("monitoring.port", monitoring.port),),
        probe=Probe(f"http://{site.address}:{monitoring.port}/-/ready"),
        scrape=Scrape(site.address, monitoring.port),
        files={
            **{f"etc/prometheus/{name}": content for name, content in render_prometheus(config).items()},
            **_grafana_files(site),
        },
        priority=50,
    )


def _grafana_files(site: Site) -> dict[str, bytes]:
    """Return what a Grafana of one's own shows the grid with; ragrid runs none."""
    url = f"http://{site.address}:{site.grid.monitoring.port}"
    provisioning = render_provisioning(prometheus_url=url, dashboards=str(site.layout.etc / "grafana" / "dashboards"))
    files = {f"etc/grafana/provisioning/{name}": content for name, content in provisioning.items()}
    if site.grid.services.memory:
        files["etc/grafana/dashboards/memory.json"] = render_dashboard(memory_dashboard())
    return files


def scrape_target(site: Site, part: Part) -> ScrapeTarget:
    """Return how Prometheus reads the metrics of `part`."""
    tls = part.scrape.tls
    return ScrapeTarget(
        part=part.name,
        host=part.scrape.host,
        port=part.scrape.port,
        path=part.scrape.path,
        scheme="https" if tls else "http",
        ca_file=tls.authority_file if tls else None,
        certificate_file=tls.certificate_file if tls else None,
        key_file=tls.key_file if tls else None,
        token_file=part.scrape.token_file,
        instance_id=f"{part.name}-{site.host}",
        speaks_for_others=part.name == "agent",
    )


def _rules(site: Site) -> RuleSettings:
    alerts, objective = site.grid.monitoring.alerts, site.grid.monitoring.slo
    rag = site.grid.services.rag
    generates = rag is not None and rag.generator.kind != "extractive"
    return RuleSettings(
        generating_services=("vllm", "rag") if generates else ("vllm",),
        thresholds=Thresholds(
            cpu_ratio=alerts.cpu.ratio,
            memory_ratio=alerts.memory.ratio,
            gpu_ratio=alerts.gpu.ratio,
            response_time_s=alerts.response_time.seconds,
            error_ratio=alerts.error_rate.ratio,
        ),
        objective=Objective(
            availability_ratio=objective.availability.ratio, latency_mean_s=objective.latency_mean.seconds
        ),
    )
