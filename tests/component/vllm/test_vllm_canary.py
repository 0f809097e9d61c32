"""The agent's canary against a real vLLM: it sees the engine that hangs behind an API server that is well."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator

import httpx
import psutil
import pytest

from ragrid.agent.agent import opened_probe
from ragrid.agent.checks import COMPLETION_EVERY_S, Probe, run_check
from ragrid.spec.settings import Check, WatchedInstance
from ragrid.system.clock import ManualClock, SystemClock
from ragrid.system.ports import holder_of
from support.registry_servers import free_ports
from support.vllm_server import run_vllm

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(360)]

#: A canary gives up after 30 s; two cores may be busy with other work.
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port = free_ports(1)[0]
    with run_vllm(port=port, log=tmp_path_factory.mktemp("vllm") / "vllm.log"):
        yield port


def completions(port: int) -> float:
    """How many requests the engine has finished, as its own metrics say."""
    page = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False, timeout=10.0).text
    lines = [line for line in page.splitlines() if line.startswith("vllm:request_success_total")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def health(port: int) -> int:
    """The status of the API server's own health page."""
    return httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False, timeout=10.0).status_code


@contextlib.contextmanager
def hung_engine(port: int) -> Iterator[None]:
    """Stop every process behind the API server, and let them go on afterwards."""
    holder = holder_of(port, "127.0.0.1")
    assert holder is not None
    assert holder.pid is not None
    engines = [one.pid for one in psutil.Process(holder.pid).children(recursive=True) if "EngineCore" in one.name()]
    assert engines
    try:
        for pid in engines:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in engines:
            os.kill(pid, signal.SIGCONT)


async def error_of(probe: Probe) -> str:
    return (await run_check(probe, timeout_s=10.0, clock=SystemClock())).error


async def until(probe: Probe, *, passes: bool) -> str:
    """Look until the probe passes, or until it fails; return the error."""
    async with asyncio.timeout(PATIENCE_S):
        while bool(error := await error_of(probe)) == passes:  # noqa: ASYNC110 - the event is in another process
            await asyncio.sleep(0.5)
    return error


async def test_canary_asks_the_real_model_and_sees_an_engine_that_hangs(port: int) -> None:
    clock = ManualClock()
    check = Check(kind="completion", model="tiny", timeout_s=10.0)
    watched = WatchedInstance(
        service="vllm", instance_id="vllm-sark", host="127.0.0.1", port=port, version="", check=check
    )
    async with opened_probe(watched, clock) as probe:
        before = completions(port)
        await until(probe, passes=True)
        assert completions(port) == before + 1  # one real token
        assert [await error_of(probe) for _ in range(3)] == ["", "", ""]
        assert completions(port) == before + 1  # and no more of them for a while
        with hung_engine(port):
            clock.advance(COMPLETION_EVERY_S)
            assert health(port) == httpx.codes.OK  # what a check of /health alone would believe
            assert "Timeout" in await until(probe, passes=False)
        await until(probe, passes=True)


async def test_canary_for_a_model_that_is_not_served_says_so(port: int) -> None:
    check = Check(kind="completion", model="other", timeout_s=10.0)
    watched = WatchedInstance(
        service="vllm", instance_id="vllm-sark", host="127.0.0.1", port=port, version="", check=check
    )
    async with opened_probe(watched, SystemClock()) as probe:
        assert "got status 404" in await error_of(probe)
