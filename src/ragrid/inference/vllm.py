"""Command lines and environments of vLLM and Ray: pure, the same for the same plan, run by a driver.

One host: `vllm serve`. Several hosts that share one model: either vLLM's own multi-node way, where each host runs
`serve_command` with its rank, or Ray, where each host runs `ray_start_command` and only the head serves. Traffic
between the hosts stays on the GPU network: `network` and `master_address` are of it; `host` and `port`, where the API
listens, are not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Executor = Literal["none", "ray", "multi-node"]

#: How long vLLM keeps an idle connection, seconds; its own default is 5. The gateway drops idle connections to it after
#: 4 s: the side that sends must be the side that closes, or a request meets a closed connection.
KEEP_ALIVE_S = 30

#: Ray's usual port for joining a cluster: https://docs.ray.io/en/latest/cluster/cli.html#ray-start
RAY_PORT = 6379

#: How a path, and never the name of a model on a hub, begins.
_PATH_STARTS = ("/", "./", "../", "~")


@dataclass(frozen=True, kw_only=True)
class GpuNetwork:
    """One host's place on the network between the GPUs; without `interface` the libraries choose one by themselves."""

    address: str
    interface: str | None = None


@dataclass(frozen=True, kw_only=True)
class VllmPlan:
    """What one host runs of a model.

    `network` and `master_address` (the head's, on the GPU network) are needed from two hosts on; rank 0 is the head.
    """

    model: str
    served_name: str
    host: str
    port: int
    executable: str = "vllm"
    max_model_len: int | None = None
    tensor_parallel: int = 1
    node_count: int = 1
    node_rank: int = 0
    master_address: str | None = None
    network: GpuNetwork | None = None
    executor: Executor = "none"
    extra_args: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a plan that vLLM would only refuse after a minute of loading, or run on the wrong network."""
        if not 0 <= self.node_rank < self.node_count:
            raise ValueError(f"node_rank: got {self.node_rank}, wanted 0 to {self.node_count - 1}")
        if self.node_count > 1 and self.executor == "none":
            raise ValueError(f"executor: got 'none' for {self.node_count} hosts, wanted 'ray' or 'multi-node'")
        if self.node_count > 1 and (self.master_address is None or self.network is None):
            raise ValueError(f"{self.node_count} hosts: wanted master_address and network, got no address to meet at")

    @property
    def is_head(self) -> bool:
        """Whether this host serves the API."""
        return self.node_rank == 0

    @property
    def is_local_path(self) -> bool:
        """Whether the model is a folder, so that no hub is asked."""
        return self.model.startswith(_PATH_STARTS)


def serve_command(plan: VllmPlan) -> tuple[str, ...]:
    """Return the `vllm serve` command of this host.

    Raises ValueError for a Ray worker: Ray starts vLLM's workers itself, the host only runs `ray_start_command`.
    """
    if plan.executor == "ray" and not plan.is_head:
        raise ValueError(f"node_rank: got {plan.node_rank} with Ray, wanted 0: only the head serves")
    return (
        *(plan.executable, "serve", plan.model),
        *("--served-model-name", plan.served_name),
        *(("--host", plan.host, "--port", str(plan.port)) if plan.is_head else ("--headless",)),
        *(() if plan.max_model_len is None else ("--max-model-len", str(plan.max_model_len))),
        *(() if plan.tensor_parallel == 1 else ("--tensor-parallel-size", str(plan.tensor_parallel))),
        *_meeting(plan),
        # The gateway logs each request already, with its subject.
        "--disable-uvicorn-access-log",
        *plan.extra_args,
    )


def _meeting(plan: VllmPlan) -> tuple[str, ...]:
    if plan.executor == "ray":
        return ("--distributed-executor-backend", "ray")
    if plan.node_count == 1 or plan.master_address is None:
        return ()
    return (
        *("--distributed-executor-backend", "mp"),
        *("--nnodes", str(plan.node_count), "--node-rank", str(plan.node_rank)),
        *("--master-addr", plan.master_address),
    )


def serve_environment(plan: VllmPlan) -> dict[str, str]:
    """Return what vLLM's environment adds to the host's, sorted by name; the plan's own entries win."""
    ours = {
        "DO_NOT_TRACK": "1",
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": str(KEEP_ALIVE_S),
        "VLLM_NO_USAGE_STATS": "1",
        **({"HF_HUB_OFFLINE": "1"} if plan.is_local_path else {}),
        **_network_environment(plan),
        **_ray_environment(plan),
    }
    return dict(sorted({**ours, **plan.environment}.items()))


def _network_environment(plan: VllmPlan) -> dict[str, str]:
    """Keep NCCL, Gloo and vLLM's own messages on the GPU network, or on the API's private address on one host.

    Without this each of them chooses an interface by itself, which may be the one that users come from.
    """
    if plan.network is None:
        return {"VLLM_HOST_IP": plan.host}
    interface = plan.network.interface
    names = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "TP_SOCKET_IFNAME") if interface else ()
    return {**dict.fromkeys(names, interface or ""), "VLLM_HOST_IP": plan.network.address}


def _ray_environment(plan: VllmPlan) -> dict[str, str]:
    if plan.executor != "ray":
        return {}
    address = {} if plan.master_address is None else {"RAY_ADDRESS": f"{plan.master_address}:{RAY_PORT}"}
    return {"RAY_USAGE_STATS_ENABLED": "0", **address}


def ray_start_command(plan: VllmPlan, *, gpus: int, executable: str = "ray") -> tuple[str, ...]:
    """Return the command that keeps this host in the Ray cluster, in the foreground.

    Run it with `ray_start_environment`: vLLM takes each worker's address from the environment of its host's Ray.
    Raises ValueError when the plan names no network to meet on.
    """
    if plan.network is None or plan.master_address is None:
        raise ValueError("ray: wanted master_address and network, got no address to meet at")
    where = ("--head", f"--port={RAY_PORT}") if plan.is_head else (f"--address={plan.master_address}:{RAY_PORT}",)
    # The dashboard takes jobs from anybody who reaches it: https://docs.ray.io/en/latest/ray-security/index.html
    closed = ("--include-dashboard=false",) if plan.is_head else ()
    return (
        *(executable, "start"),
        *where,
        f"--node-ip-address={plan.network.address}",
        f"--num-gpus={gpus}",
        *closed,
        "--disable-usage-stats",
        "--block",
    )


def ray_start_environment(plan: VllmPlan) -> dict[str, str]:
    """Return what Ray's environment adds to the host's: as vLLM's, without the address of a cluster to join."""
    return {name: value for name, value in serve_environment(plan).items() if name != "RAY_ADDRESS"}
