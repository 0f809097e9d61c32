"""A real vLLM with the tiny model: where it lies, and a server of one's own on a free port."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ragrid.inference.vllm import VllmPlan, serve_command, serve_environment
from support import after_kill

ROOT = Path(__file__).resolve().parents[2]
EXECUTABLE = ROOT / ".venv-vllm" / "bin" / "vllm"
MODEL = ROOT / ".cache" / "models" / "tiny"
#: What lets vLLM start quickly and small on two cores; the same words stand in a grid's `extra_args` and `environment`.
EXTRA_ARGS = ("--enforce-eager",)
ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1"}
#: It takes 25 s on two quiet cores.
START_S = 240.0


def require_vllm() -> None:
    """Without vLLM or the model: a failure where CI says so, else a skip."""
    if EXECUTABLE.exists() and MODEL.exists():
        return
    message = f"{EXECUTABLE} or {MODEL} is missing: run `make vllm`"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@contextlib.contextmanager
def run_vllm(*, port: int, log: Path) -> Iterator[str]:
    """Yield the base address of a vLLM that serves the model as `tiny`; its whole process group ends with the block."""
    require_vllm()
    plan = VllmPlan(
        model=str(MODEL),
        served_name="tiny",
        host="127.0.0.1",
        port=port,
        executable=str(EXECUTABLE),
        max_model_len=1024,
        extra_args=EXTRA_ARGS,
        environment=ENVIRONMENT,
    )
    with log.open("wb") as output:
        process = after_kill.start(
            serve_command(plan),
            env={**os.environ, **serve_environment(plan)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(process, address, log)
        yield address
    finally:
        _end_group(process)


def _wait_until_ready(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + START_S
    seen = "nothing yet"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"vLLM ended with {process.returncode}: {_tail(log)}")
        try:
            seen = f"status {httpx.get(f'{address}/health', timeout=5).status_code}"
        except httpx.TransportError as error:
            seen = repr(error)
        if seen == "status 200":
            return
        time.sleep(0.5)
    pytest.fail(f"vLLM was not ready in {START_S:.0f} s, last seen: {seen}; {_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:]


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End vLLM and the engine and worker processes that it started, politely and then for certain."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=20)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=20)
