"""vLLM on one host, or on several through Ray or vLLM's own way (pure)."""

from collections.abc import Iterator

from ragrid.drivers.local.part import Part, Port, Probe, Scrape
from ragrid.drivers.local.site import Site
from ragrid.inference.vllm import (
    RAY_PORT,
    GpuNetwork,
    VllmPlan,
    ray_start_command,
    ray_start_environment,
    serve_command,
    serve_environment,
)
from ragrid.spec.services import Vllm
from ragrid.spec.values import SecretReference


def vllm_parts(site: Site, service: Vllm, model: str) -> Iterator[Part]:
    """Yield what this host runs of the model: nothing, a Ray node, vLLM, or both."""
    hosts = (service.head, *service.workers)
    if site.host not in hosts:
        return
    plan = _plan(site, service, model, hosts)
    if plan.node_count > 1 and plan.executor == "ray":
        yield _ray(site, service, plan)
        if not plan.is_head:
            return
    yield _vllm(site, service, plan)


def _plan(site: Site, service: Vllm, model: str, hosts: tuple[str, ...]) -> VllmPlan:
    several = len(hosts) > 1
    return VllmPlan(
        model=model,
        served_name=service.served_model or model,
        host=site.address,
        port=service.port,
        executable=service.executable,
        max_model_len=service.max_model_len,
        tensor_parallel=service.tensor_parallel,
        node_count=len(hosts),
        node_rank=hosts.index(site.host),
        master_address=site.grid.address_of(service.head, "gpu") if several else None,
        network=GpuNetwork(address=site.grid.address_of(site.host, "gpu")) if several else None,
        executor=service.executor if several else "none",
        extra_args=service.extra_args,
        environment={name: value for name, value in service.environment.items() if isinstance(value, str)},
    )


def _vllm(site: Site, service: Vllm, plan: VllmPlan) -> Part:
    secrets = site.secrets
    return Part(
        name="vllm",
        version="",
        command=serve_command(plan),
        environment=serve_environment(plan),
        secret_environment={
            name: secrets.resolved(f"vllm-{name}")
            for name, value in service.environment.items()
            if isinstance(value, SecretReference)
        },
        ports=(site.port("services.vllm.port", service.port),),
        probe=Probe(f"http://{site.address}:{service.port}/health"),
        scrape=Scrape(site.address, service.port),
        stop_wait_s=30.0,
        priority=20,
    )


def _ray(site: Site, service: Vllm, plan: VllmPlan) -> Part:
    address = site.grid.address_of(site.host, "gpu")
    return Part(
        name="ray",
        version="",
        command=ray_start_command(plan, gpus=site.grid.hosts[site.host].gpus or service.tensor_parallel),
        environment=ray_start_environment(plan),
        ports=(Port("services.vllm.head", address, RAY_PORT),) if plan.is_head else (),
        probe=Probe(f"http://{site.address}:{site.grid.agent.port}/healthz"),
        scrape=Scrape(site.address, site.grid.agent.port, "/metrics/ray"),
        stop_wait_s=30.0,
        priority=15,
    )
