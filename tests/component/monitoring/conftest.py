"""Real Prometheus programs, and a rendered configuration to give them."""

import os
from pathlib import Path

import pytest

from ragrid.errors import MissingError
from ragrid.monitoring.prometheus import PrometheusConfig, ScrapeTarget, render_prometheus
from ragrid.system.process import find_program


def real_program(name: str) -> str:
    """The path of a Debian program; its absence fails the test in CI and skips it elsewhere."""
    try:
        return str(find_program(name, package="prometheus"))
    except MissingError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def promtool() -> str:
    """Prometheus's own checker."""
    return real_program("promtool")


def write_configuration(directory: Path, config: PrometheusConfig) -> Path:
    """Write every rendered file and return the main one."""
    for name, content in render_prometheus(config).items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return directory / "prometheus.yml"


@pytest.fixture
def rendered(tmp_path: Path) -> Path:
    """The main file of a grid with a gateway, an agent, a node exporter, GPUs and PostgreSQL."""
    targets = (
        ScrapeTarget(part="agent", host="127.0.0.1", port=9401, speaks_for_others=True),
        ScrapeTarget(part="gateway", host="127.0.0.1", port=9402),
        ScrapeTarget(part="gpu", host="127.0.0.1", port=9403),
        ScrapeTarget(part="node", host="127.0.0.1", port=9404),
        ScrapeTarget(part="postgresql", host="127.0.0.1", port=9405),
    )
    main = tmp_path / "prometheus.yml"
    config = PrometheusConfig(grid="test", config_file=main, data_directory=tmp_path / "data", targets=targets)
    return write_configuration(tmp_path, config)
