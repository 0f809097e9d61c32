"""How a service ends on SIGTERM: what is under way is finished, or told to try again; then the process is gone."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from support import after_kill

TESTS = Path(__file__).parents[2]


@pytest.fixture
def service(free_port: int, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client, Path]]:
    log = tmp_path / "log"
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    command = (sys.executable, "-m", "support.slow_service", str(free_port))
    with log.open("wb") as output:
        process = after_kill.start(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{free_port}", timeout=20) as http:
            _wait_until_alive(process, http, log)
            yield process, http, log
    finally:
        process.kill()
        process.wait(timeout=10)


def _wait_until_alive(process: subprocess.Popen[bytes], http: httpx.Client, log: Path) -> None:
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            http.get("/healthz")
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"not alive; exit status {process.poll()}; log: {log.read_text()}")


@pytest.mark.parametrize(("seconds", "status"), [("1.5", 200), ("60", 503)])
def test_what_is_under_way_is_finished_or_may_be_tried_again(
    service: tuple[subprocess.Popen[bytes], httpx.Client, Path], seconds: str, status: int
) -> None:
    process, http, log = service
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(http.get, "/slow", params={"seconds": seconds})
        _wait_until_arrived(http)
        process.send_signal(signal.SIGTERM)
        answer = pending.result(timeout=20)
    assert answer.status_code == status, log.read_text()
    assert process.wait(timeout=10) in {0, -signal.SIGTERM}
    assert all(json.loads(line)["part"] == "slow" for line in log.read_text().splitlines())


def _wait_until_arrived(http: httpx.Client) -> None:
    deadline_s = time.monotonic() + 20
    while http.get("/arrived").text != "1":
        assert time.monotonic() < deadline_s, "the slow request never arrived"
        time.sleep(0.05)


def test_what_is_logged_is_json_and_stays_one_line(
    service: tuple[subprocess.Popen[bytes], httpx.Client, Path],
) -> None:
    _, http, log = service
    assert http.get("/slow", params={"seconds": "no\nnumber"}).json()["code"] == "internal-error"
    (failed,) = [line for line in log.read_text().splitlines() if "traceback" in line]
    assert json.loads(failed)["message"] == "request failed"
