"""What vLLM is, where it runs, and what it is started with."""

from collections.abc import Iterator

from ragrid.spec.conflicts.conflict import Conflict
from ragrid.spec.faults import Path, shown
from ragrid.spec.models import Grid
from ragrid.spec.scalars import is_secret_name
from ragrid.spec.values import SecretReference

#: Arguments of `vllm serve` that have a key of their own in the grid, or would show a secret in the process list.
_OWN_ARGUMENTS = {
    "--host": "delete it; vLLM listens on the address that the gateway uses",
    "--port": "write `port: …` instead",
    "--model": "write `model: …` instead",
    "--served-model-name": "write `served_name: …` instead",
    "--max-model-len": "write `max_model_len: …` instead",
    "--tensor-parallel-size": "write `tensor_parallel: …` instead",
    "--distributed-executor-backend": "write `executor: …` instead",
    "--api-key": "delete it; the gateway checks who calls",
    "--hf-token": "write `environment: {HF_TOKEN: env:HF_TOKEN}` instead",
}


def vllm_has_one_source(grid: Grid) -> Iterator[Conflict]:
    """vLLM is either run here, or reached at an address."""
    vllm, here = grid.services.vllm, ("services", "vllm")
    if vllm is None:
        return
    address: Path = (*here, "address")
    if vllm.model is None and vllm.address is None:
        advice = "add `model: NAME` to run one here, or `address: http://…/v1` to use one that runs"
        yield Conflict(
            here, "neither `model` nor `address`", "one of them", advice, ((*here, "model"), (*here, "address"))
        )
    if vllm.address is None and vllm.api_key is not None:
        yield Conflict((*here, "api_key"), "`api_key`", "it only beside `address`", "delete it", (address,))
    if vllm.address is not None:
        run_here = ("model", "max_model_len", "workers", "extra_args", "environment")
        for key in (key for key in run_here if getattr(vllm, key)):
            advice = "delete one of the two; `served_name` names the model that the address serves"
            yield Conflict((*here, key), f"`{key}`", "it only without `address`", advice, (address,))


def vllm_fits_its_hosts(grid: Grid) -> Iterator[Conflict]:
    """A model that spans hosts is split evenly over them, by an executor, and within the GPUs that they have."""
    vllm, here = grid.services.vllm, ("services", "vllm")
    if vllm is None or vllm.address is not None:
        return
    workers, split = (*here, "workers"), (*here, "tensor_parallel")
    hosts = (vllm.head, *vllm.workers)
    if vllm.head in vllm.workers:
        yield Conflict(
            workers, shown(vllm.head), "hosts other than `head`", "delete it; the head works too", ((*here, "head"),)
        )
    if vllm.workers and vllm.executor == "none":
        advice = "write `executor: ray` or `executor: multi-node`"
        yield Conflict((*here, "executor"), "'none'", "what joins several hosts", advice, (workers,))
    if not vllm.workers and vllm.executor != "none":
        advice = "add `workers: […]`, or delete `executor`"
        yield Conflict((*here, "executor"), shown(vllm.executor), "`workers` beside it", advice, (workers,))
    if vllm.tensor_parallel % len(hosts):
        wanted = f"a multiple of {len(hosts)}, the number of hosts (head and workers)"
        yield Conflict(split, str(vllm.tensor_parallel), wanted, f"write `tensor_parallel: {len(hosts)}`", (workers,))
    gpus = sum(grid.hosts[name].gpus for name in dict.fromkeys(hosts) if name in grid.hosts)
    if 0 < gpus < vllm.tensor_parallel:
        advice = "lower it, add workers, or correct `gpus` of the hosts"
        counted = tuple(("hosts", name, "gpus") for name in hosts)
        yield Conflict(split, str(vllm.tensor_parallel), f"at most {gpus}, the GPUs of its hosts", advice, counted)


def vllm_arguments_are_its_own(grid: Grid) -> Iterator[Conflict]:
    """What has a key in the grid is not said a second time, and no secret stands in arguments or environment."""
    vllm, here = grid.services.vllm, ("services", "vllm")
    if vllm is None:
        return
    for position, argument in enumerate(vllm.extra_args):
        name = argument.partition("=")[0]
        if name in _OWN_ARGUMENTS:
            yield Conflict((*here, "extra_args", position), f"`{name}`", "other arguments", _OWN_ARGUMENTS[name])
    for variable, value in vllm.environment.items():
        if is_secret_name(variable) and not isinstance(value, SecretReference):
            advice = f"write `{variable}: env:{variable}` or `{variable}: file:PATH`"
            path: Path = (*here, "environment", variable)
            yield Conflict(path, "a value (not shown)", "a reference to a secret", advice)
