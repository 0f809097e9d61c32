"""Command lines and environments of vLLM and Ray, whole: what is wrong in one of them shows only on two GPUs."""

from dataclasses import replace

import pytest

from ragrid.inference.vllm import (
    GpuNetwork,
    VllmPlan,
    ray_start_command,
    ray_start_environment,
    serve_command,
    serve_environment,
)

LAPTOP = VllmPlan(
    model="/models/tiny",
    served_name="tiny",
    host="127.0.0.1",
    port=8000,
    executable="/opt/vllm/bin/vllm",
    max_model_len=1024,
    extra_args=("--enforce-eager",),
    environment={"VLLM_CPU_KVCACHE_SPACE": "1"},
)
HEAD = VllmPlan(
    model="Qwen/Qwen3-8B",
    served_name="Qwen/Qwen3-8B",
    host="192.168.100.69",
    port=8000,
    tensor_parallel=2,
    node_count=2,
    master_address="192.168.101.69",
    network=GpuNetwork(address="192.168.101.69", interface="connectx0"),
    executor="multi-node",
)
WORKER = replace(HEAD, node_rank=1, network=GpuNetwork(address="192.168.101.71", interface="connectx1"))


def test_one_host_serves_a_local_folder() -> None:
    assert " ".join(serve_command(LAPTOP)) == (
        "/opt/vllm/bin/vllm serve /models/tiny --served-model-name tiny --host 127.0.0.1 --port 8000 "
        "--max-model-len 1024 --disable-uvicorn-access-log --enforce-eager"
    )
    assert serve_environment(LAPTOP) == {
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "30",
        "VLLM_NO_USAGE_STATS": "1",
    }


def test_two_hosts_meet_on_the_gpu_network_without_ray() -> None:
    meeting = "--distributed-executor-backend mp --nnodes 2 --node-rank {} --master-addr 192.168.101.69"
    start = "vllm serve Qwen/Qwen3-8B --served-model-name Qwen/Qwen3-8B"
    assert " ".join(serve_command(HEAD)) == (
        f"{start} --host 192.168.100.69 --port 8000 --tensor-parallel-size 2 {meeting.format(0)} "
        "--disable-uvicorn-access-log"
    )
    assert " ".join(serve_command(WORKER)) == (
        f"{start} --headless --tensor-parallel-size 2 {meeting.format(1)} --disable-uvicorn-access-log"
    )
    assert serve_environment(WORKER) == {
        "DO_NOT_TRACK": "1",
        "GLOO_SOCKET_IFNAME": "connectx1",
        "NCCL_SOCKET_IFNAME": "connectx1",
        "TP_SOCKET_IFNAME": "connectx1",
        "VLLM_HOST_IP": "192.168.101.71",
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "30",
        "VLLM_NO_USAGE_STATS": "1",
    }


def test_two_hosts_meet_through_ray_and_only_the_head_serves() -> None:
    head, worker = replace(HEAD, executor="ray"), replace(WORKER, executor="ray")
    assert " ".join(serve_command(head)) == (
        "vllm serve Qwen/Qwen3-8B --served-model-name Qwen/Qwen3-8B --host 192.168.100.69 --port 8000 "
        "--tensor-parallel-size 2 --distributed-executor-backend ray --disable-uvicorn-access-log"
    )
    assert serve_environment(head)["RAY_ADDRESS"] == "192.168.101.69:6379"
    assert " ".join(ray_start_command(head, gpus=1)) == (
        "ray start --head --port=6379 --node-ip-address=192.168.101.69 --num-gpus=1 --include-dashboard=false "
        "--disable-usage-stats --block"
    )
    assert " ".join(ray_start_command(worker, gpus=1)) == (
        "ray start --address=192.168.101.69:6379 --node-ip-address=192.168.101.71 --num-gpus=1 "
        "--disable-usage-stats --block"
    )
    assert "RAY_ADDRESS" not in ray_start_environment(head)
    assert ray_start_environment(worker)["VLLM_HOST_IP"] == "192.168.101.71"
    with pytest.raises(ValueError, match="only the head serves"):
        serve_command(worker)


def test_a_name_on_a_hub_may_be_fetched_and_a_folder_may_not() -> None:
    assert "HF_HUB_OFFLINE" not in serve_environment(replace(LAPTOP, model="org/models"))
    for folder in ("/models", "./models", "../models", "~/models"):
        assert serve_environment(replace(LAPTOP, model=folder))["HF_HUB_OFFLINE"] == "1"


def test_what_the_grid_says_of_the_environment_wins() -> None:
    plan = replace(LAPTOP, environment={"VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "90", "HF_HUB_OFFLINE": "0"})
    environment = serve_environment(plan)
    assert environment["VLLM_HTTP_TIMEOUT_KEEP_ALIVE"] == "90"
    assert environment["HF_HUB_OFFLINE"] == "0"
    assert list(environment) == sorted(environment)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"node_rank": 2}, "node_rank: got 2, wanted 0 to 1"),
        ({"node_rank": -1}, "node_rank: got -1, wanted 0 to 1"),
        ({"executor": "none"}, "executor: got 'none' for 2 hosts"),
        ({"network": None}, "2 hosts: wanted master_address and network"),
        ({"master_address": None}, "2 hosts: wanted master_address and network"),
    ],
)
def test_a_plan_that_cannot_work_is_refused_at_once(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(HEAD, **change)  # type: ignore[arg-type]  # each case is one field of the plan
