"""The real Prometheus and node exporter, run with the rendered files and commands."""

import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from component.monitoring.conftest import real_program, write_configuration
from ragrid.errors import UnreachableError
from ragrid.monitoring import names
from ragrid.monitoring.coverage import Coverage, fetch_coverage
from ragrid.monitoring.prometheus import PrometheusConfig, ScrapeTarget, node_exporter_command, prometheus_command
from support import after_kill

DEADLINE_S = 20.0


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that we started, whatever it does."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A Prometheus that scrapes itself, a node exporter, and a part that is not there."""
    own, node, nobody = free_ports(3)
    config = PrometheusConfig(
        grid="test",
        listen_port=own,
        config_file=tmp_path / "prometheus.yml",
        data_directory=tmp_path / "data",
        scrape_interval_s=0.5,
        targets=(
            ScrapeTarget(part="prometheus", host="127.0.0.1", port=own),
            ScrapeTarget(part="node", host="127.0.0.1", port=node, instance_id="node-1"),
            ScrapeTarget(part="absent", host="127.0.0.1", port=nobody),
        ),
    )
    write_configuration(tmp_path, config)
    commands = (
        prometheus_command(config, program=real_program("prometheus")),
        node_exporter_command("127.0.0.1", node, program=real_program("prometheus-node-exporter")),
    )
    with (tmp_path / "log").open("wb") as log:
        started: list[subprocess.Popen[bytes]] = []
        try:
            started.extend(after_kill.start(command, stdout=log, stderr=log) for command in commands)
            yield f"http://127.0.0.1:{own}"
        finally:
            for process in started:
                stop(process)
    # A container has no udev, and the exporter says so once.
    lines = (tmp_path / "log").read_text().splitlines()
    assert not [line for line in lines if "level=error" in line and "udev" not in line]


def wait_for(url: str, is_right: Callable[[Coverage], bool]) -> Coverage:
    """Ask until the coverage is right; the deadline names what was seen last."""
    ends_s = time.monotonic() + DEADLINE_S
    seen: object = None
    while time.monotonic() < ends_s:
        try:
            seen = fetch_coverage(url, ["prometheus", "node", "absent"])
        except UnreachableError as error:
            seen = error
        if isinstance(seen, Coverage) and is_right(seen):
            return seen
        time.sleep(0.1)
    pytest.fail(f"not in {DEADLINE_S} s; last seen: {seen}")


def query(url: str, expression: str) -> list[tuple[dict[str, str], float]]:
    """Labels and value of every series."""
    result = httpx.get(f"{url}/api/v1/query", params={"query": expression}, trust_env=False).json()["data"]["result"]
    return [(one["metric"], float(one["value"][1])) for one in result]


def test_what_runs_is_covered_and_what_does_not_is_named(url: str) -> None:
    seen = wait_for(url, lambda one: one.down == ("absent",))
    assert seen.missing == ()
    assert seen.ratio == pytest.approx(2 / 3)
    assert fetch_coverage(url, ["prometheus", "forgotten"]).missing == ("forgotten",)
    ends_s = time.monotonic() + DEADLINE_S
    while not (recorded := query(url, names.SCRAPE_COVERAGE)) or recorded[0][1] < 0.6:
        assert time.monotonic() < ends_s, f"recorded coverage is {recorded}"
        time.sleep(0.1)
    assert recorded[0][1] == pytest.approx(2 / 3)


def test_the_exporter_has_what_the_rules_ask_for(url: str) -> None:
    wait_for(url, lambda one: one.down == ("absent",))
    for name in names.NODE:
        assert query(url, f'{name}{{part="node",instance="node-1"}}'), name


def test_no_administration_over_http(url: str) -> None:
    wait_for(url, lambda one: one.down == ("absent",))
    for path, refused in {
        "/-/quit": "Lifecycle API is not enabled",
        "/-/reload": "Lifecycle API is not enabled",
        "/api/v1/admin/tsdb/snapshot": "admin APIs disabled",
    }.items():
        answer = httpx.post(url + path, trust_env=False)
        assert refused in answer.text, path
        assert answer.is_error


def test_nobody_there(free_port: int) -> None:
    with pytest.raises(UnreachableError, match="ragrid logs prometheus"):
        fetch_coverage(f"http://127.0.0.1:{free_port}", ["a"])
